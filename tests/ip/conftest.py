from tests.kit.fixtures import ether, wire, world

__all__ = ["ether", "wire", "world"]
