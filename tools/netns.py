"""Network namespaces that vanish with their owner.

A `Namespace` has no name and no process: a descriptor holds it, so it is gone, with every interface
in it, when the object is closed or the process dies, however it dies. A thread goes in and out with
`entered()`; programs are started inside with `run`, `popen` and `python`.

Making one needs root, or user namespaces: `in_user_namespace()` starts the program again inside one
where it must (namespaces(7), user_namespaces(7)). As a program,
`python -m barewire.tools.netns COMMAND...` runs a command with that right.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, ParamSpec, TypeVar

from . import signals
from .closing import Closing

P = ParamSpec("P")
T = TypeVar("T")

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUNSETPERSIST, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x400454CB, 0x0002, 0x1000
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
MARK = "BAREWIRE_IN_USER_NAMESPACE"

_libc = ctypes.CDLL(None, use_errno=True)


class NoPrivilege(PermissionError):
    """Network namespaces cannot be made here; the text says what to do."""


def has_privilege() -> bool:
    """Whether this process may make and enter network namespaces."""
    with open("/proc/self/status", encoding="ascii") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return all(effective >> cap & 1 for cap in (CAP_NET_ADMIN, CAP_SYS_ADMIN))


def in_user_namespace(argv: Sequence[str] | None = None) -> None:
    """Returns at once if namespaces can be made; else runs argv in a user namespace, not returning.

    argv: the command that replaces this process (default: this very program). Raises NoPrivilege
    where the system does not let an ordinary user make user namespaces.
    """
    if has_privilege():
        return
    unshare = shutil.which("unshare")
    probe = [unshare or "unshare", "-Urn", "true"]
    refused = os.environ.get(MARK) or unshare is None
    if refused or subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        raise NoPrivilege(
            "network namespaces cannot be made here: run it as root, or allow user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1)"
        )
    assert unshare is not None
    command = list(argv) if argv is not None else [sys.executable, *sys.orig_argv[1:]]
    sys.stdout.flush()
    sys.stderr.flush()
    # Inside, this user is called root: whoever asks for the name (a folder of /tmp) must not be told so.
    environment = {"LOGNAME": str(os.getuid()), **os.environ, MARK: "1"}
    os.execve(unshare, [unshare, "-Urn", "--", *command], environment)


def _check(result: int, what: str) -> None:
    if result != 0:
        err = ctypes.get_errno()
        if err == 1:
            raise NoPrivilege(f"{what}: {os.strerror(err)}; run it as root, or under unshare -Urn")
        raise OSError(err, f"{what}: {os.strerror(err)}")


def _open_current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def in_thread(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """fn(*args) in a short-lived thread of its own; its result, or its exception here."""
    result: list[T] = []
    raised: list[BaseException] = []

    def body() -> None:
        try:
            result.append(fn(*args, **kwargs))
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=body, name=f"in_thread:{getattr(fn, '__name__', 'call')}")
    thread.start()
    thread.join()
    if raised:
        try:
            raise raised[0]
        finally:
            raised.clear()
    return result[0]


class Namespace(Closing):
    """An anonymous network namespace with its loopback up.

    name: for people only, shown by repr. A context manager; `close` lets go of it (it ends when the
    last process, thread and socket in it have ended too). It inherits the machine's default
    congestion control, which is not the same everywhere: see `use_congestion`.
    """

    def __init__(self, name: str = "netns") -> None:
        self.name = name
        self.fd = in_thread(self._make)
        self._processes: list[subprocess.Popen[Any]] = []

    @staticmethod
    def _make() -> int:
        _check(_libc.unshare(CLONE_NEWNET), "a network namespace")
        link_up("lo")
        return _open_current()

    def __repr__(self) -> str:
        return f"<Namespace {self.name} {'closed' if self.fd < 0 else f'fd {self.fd}'}>"

    def close(self) -> None:
        """Ends what `popen` and `python` started and still runs, and lets go. Idempotent."""
        while self._processes:
            stop(self._processes.pop())
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @contextlib.contextmanager
    def entered(self) -> Iterator[Namespace]:
        """The calling thread is inside; sockets and programs it makes belong to the namespace."""
        before = _open_current()
        try:
            _check(_libc.setns(self.fd, CLONE_NEWNET), f"entering {self.name}")
            try:
                yield self
            finally:
                _check(_libc.setns(before, CLONE_NEWNET), "leaving the namespace")
        finally:
            os.close(before)

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """fn(*args) inside, in a thread of its own (for pyroute2, and for what blocks)."""

        def inside() -> T:
            with self.entered():
                return fn(*args, **kwargs)

        return in_thread(inside)

    def run(self, command: Sequence[str], **kwargs: Any) -> subprocess.CompletedProcess[Any]:
        """subprocess.run inside, with check=True unless told otherwise."""
        kwargs.setdefault("check", True)
        with self.entered():
            return subprocess.run(command, **kwargs)

    def popen(self, command: Sequence[str], **kwargs: Any) -> subprocess.Popen[Any]:
        """subprocess.Popen inside; `close` ends the program if it still runs."""
        with signals.deferred():
            with self.entered():
                process = subprocess.Popen(command, **kwargs)
            self._processes.append(process)
        return process

    def python(self, script: str, *args: str, **kwargs: Any) -> subprocess.Popen[Any]:
        """A program text in an interpreter inside; -P: the current folder shadows nothing."""
        return self.popen([sys.executable, "-P", "-c", script, *args], **kwargs)

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A kernel socket that lives inside, whatever thread uses it."""
        with self.entered():
            return socket.socket(family, kind)

    def sysctl(self, name: str, value: object) -> None:
        """Sets a sysctl of the namespace: `ns.sysctl("net.ipv4.ip_forward", 1)`."""
        path = "/proc/sys/" + name.replace(".", "/")
        with self.entered(), open(path, "w", encoding="ascii") as file:
            file.write(str(value))

    def quiet(self) -> None:
        """No IPv6 on interfaces made from now on: no router is solicited, no group joined."""
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            self.sysctl("net.ipv6.conf.default.disable_ipv6", 1)

    def use_congestion(self, link: str, algorithm: str = "cubic") -> None:
        """TCP over the networks of that link uses the algorithm (ip-route(8), congctl).

        By route, for the sysctl takes only what the machine's owner allowed to everybody.
        """
        self.call(_use_congestion, link, algorithm)

    def add_route(self, prefix: str, gateway: str) -> None:
        """`ns.add_route("198.18.1.0/24", "198.18.0.1")`."""
        self.call(_add_route, prefix, gateway)

    def introduce(self, link: str, other: Namespace, address: str) -> None:
        """Over `link` the address is at the interface of the same name in the other namespace: the
        kernel need not ask (ARP)."""
        self.call(add_neighbour, link, address, other.call(mac_of, link))

    def finish_checksums(self, link: str) -> None:
        """The kernel finishes checksums, and cuts super-segments, before it sends through that
        interface, which has to be ours (ethtool -K LINK tx off): AF_XDP at a veth's other end is
        not told of unfinished ones."""
        off = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, 0))
        request = struct.pack("16sP16x", link.encode(), ctypes.addressof(off))
        with self.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            fcntl.ioctl(sock, SIOCETHTOOL, request)

    def links(self) -> list[str]:
        """The names of the interfaces inside."""
        with self.entered():
            return [name for _, name in socket.if_nameindex()]

    def delete_link(self, name: str) -> None:
        """Removes an interface; without complaint if it is gone already."""
        self.call(_delete_link, name)


def stop(process: subprocess.Popen[Any], patience: float = 5.0) -> int:
    """Ends a process: SIGTERM, then SIGKILL after `patience` seconds. Its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    code = process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    return code


def link_up(name: str) -> None:
    """Sets an interface of the calling thread's namespace up (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH22x", name.encode(), 0)
        answer = fcntl.ioctl(sock, SIOCGIFFLAGS, request)
        flags = struct.unpack("16sH22x", answer)[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | IFF_UP))


def veth(
    a: Namespace,
    b: Namespace,
    address_a: str,
    address_b: str,
    *,
    names: tuple[str, str] = ("veth0", "veth0"),
    mtu: int = 1500,
    queues: int = 1,
) -> None:
    """A veth pair between two namespaces: addresses as "198.18.0.1/24", both ends up, TCP cubic; so many
    queues each way."""
    a.call(_make_veth, names, b.fd, mtu, queues)
    a.call(_configure, names[0], address_a, mtu)
    b.call(_configure, names[1], address_b, mtu)
    a.use_congestion(names[0])
    b.use_congestion(names[1])


def tap(where: Namespace, address: str, *, name: str = "tap0", mtu: int = 1500) -> None:
    """A TAP interface in a namespace, for a program to attach to: up, TCP cubic.

    address: the kernel's, with its prefix. The interface stays when the program ends, and goes with
    the namespace (or by `delete_link`).
    """
    where.call(_make_tap, name)
    where.call(_configure, name, address, mtu)
    where.use_congestion(name)


def _make_tap(name: str) -> None:
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoPrivilege("there is no /dev/net/tun: load the module (modprobe tun)") from None
    except PermissionError:
        raise NoPrivilege(
            "/dev/net/tun may not be opened: run it as root, or chmod 666 /dev/net/tun"
        ) from None
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
    finally:
        os.close(fd)


def _make_veth(names: tuple[str, str], peer_fd: int, mtu: int, queues: int) -> None:
    from pyroute2 import IPRoute

    of_each: dict[str, int] = (
        {"num_tx_queues": queues, "num_rx_queues": queues} if queues > 1 else {}
    )
    peer = {"ifname": names[1], "net_ns_fd": peer_fd, "mtu": mtu, **of_each}
    with IPRoute() as ip:
        ip.link("add", ifname=names[0], kind="veth", peer=peer, **of_each)


def _configure(name: str, address: str, mtu: int) -> None:
    from pyroute2 import IPRoute

    host, prefix = address.split("/")
    with IPRoute() as ip:
        index = ip.link_lookup(ifname=name)[0]
        ip.addr("add", index=index, address=host, prefixlen=int(prefix))
        ip.link("set", index=index, mtu=mtu, state="up")


def _use_congestion(link: str, algorithm: str) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        index = ip.link_lookup(ifname=link)[0]
        for route in ip.get_routes(family=socket.AF_INET, table=254, oif=index):
            ip.route(
                "replace",
                dst=f"{route.get_attr('RTA_DST') or '0.0.0.0'}/{route['dst_len']}",
                oif=index,
                prefsrc=route.get_attr("RTA_PREFSRC"),
                gateway=route.get_attr("RTA_GATEWAY"),
                scope=route["scope"],
                proto=route["proto"],
                metrics={"cc_algo": algorithm},
            )


def _add_route(prefix: str, gateway: str) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.route("add", dst=prefix, gateway=gateway)


def mac_of(link: str) -> str:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        return str(ip.get_links(*ip.link_lookup(ifname=link))[0].get_attr("IFLA_ADDRESS"))


def add_neighbour(link: str, address: str, mac: str) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        index = ip.link_lookup(ifname=link)[0]
        ip.neigh("replace", dst=address, lladdr=mac, ifindex=index, state="permanent")


def _delete_link(name: str) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        for index in ip.link_lookup(ifname=name):
            ip.link("del", index=index)


def main(argv: Sequence[str]) -> NoReturn:
    """Becomes the command, in a user namespace of its own where that is needed."""
    if not argv:
        sys.exit("usage: python -m barewire.tools.netns COMMAND [ARGUMENT...]")
    try:
        in_user_namespace(argv)
    except NoPrivilege as exc:
        print(f"barewire: {exc}", file=sys.stderr)
    os.execvp(argv[0], list(argv))


if __name__ == "__main__":
    main(sys.argv[1:])
