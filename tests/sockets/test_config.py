"""An option stands in one place: what Stack, BAREWIRE, the command line and the documents say of it agree."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import barewire
import pytest
from barewire import Config, _config, _default, cli

ROOT = Path(__file__).parents[2]

# As a word, and what it is then: every option that can be a word.
WORDS: dict[str, tuple[str, Any]] = {
    "address": ("198.18.0.2/24", None),
    "gateway": ("198.18.0.1", "198.18.0.1"),
    "route": ("198.51.100.0/24,198.18.0.1", None),
    "name": ("one", "one"),
    "mtu": ("1400", 1400),
    "congestion": ("reno", "reno"),
    "ecn": ("accecn", "accecn"),
    "seed": ("7", "7"),
    "spin": ("0.0001", 1e-4),
    "exit_linger": ("2", 2.0),
    "buffer_bytes": ("2097152", 1 << 21),
    "receive_buffer": ("4096,8192,16384", (4096, 8192, 16384)),
    "send_buffer": ("4096,8192,16384", (4096, 8192, 16384)),
    "max_sockets": ("100", 100),
    "max_orphans": ("5", 5),
    "ports": ("40000,50000", (40_000, 50_000)),
    "mtu_probing": ("2", 2),
    "probe_addresses": ("1", True),
    "syn_cookies": ("0", 0),
    "fast_open": ("1", 1),
    "memory": ("shared", "shared"),
    "lock_memory": ("0", False),
    "trace": ("1", True),
    "trace_records": ("32", 32),
    "header_prediction": ("0", False),
    "poison": ("1", True),
}


def test_every_option_can_be_a_word_but_rates() -> None:
    assert set(WORDS) == set(_config.words())
    assert {f.name for f in fields(Config)} - {n for n, _ in _config.words().values()} == {
        "punt_rates"
    }


@pytest.mark.parametrize("word", WORDS)
def test_a_word_and_a_keyword_are_one(word: str) -> None:
    text, value = WORDS[word]
    name, option = _config.words()[word]
    said = _default.parse(f"{word}={text}")
    assert list(said) == [name]
    config = Config(**said)
    if value is not None:
        assert getattr(config, name) == value == getattr(Config(**{name: value}), name)
    else:
        assert option.repeats and len(getattr(config, name)) == 1


@pytest.mark.parametrize("word", WORDS)
def test_the_command_line_takes_each(word: str) -> None:
    """As the word, and to the same stack."""
    flag = f"--{word.replace('_', '-')}"
    arguments = ["run", "--device", "pipe:x", flag, WORDS[word][0], "x.py"]
    if word in ("gateway", "route"):
        arguments[3:3] = ["--address", "198.18.0.2/24"]
    with cli.open_stack(cli._parser().parse_args(arguments)) as stack:
        name, _ = _config.words()[word]
        assert getattr(stack.config, name) == getattr(
            Config(**_default.parse(f"{word}={WORDS[word][0]}")), name
        )


WRONG = [
    ({"mtu": "x"}, TypeError, "mtu must be an int, not str"),
    ({"mtu": 67}, ValueError, "mtu 67: it is from 68 to 65535"),
    ({"spin": 7.0}, ValueError, "spin 7.0: it is from 0 to 0.001 seconds"),
    ({"exit_linger": "1"}, TypeError, "exit_linger must be a number of seconds, not str"),
    ({"receive_buffer": (1, 2)}, TypeError, r"receive_buffer \(1, 2\): give \(min, default, max\)"),
    ({"send_buffer": (4096, 2048, 1 << 20)}, ValueError, "send_buffer's default 2048: it is from 4096"),
    ({"ports": (50_000, 40_000)}, ValueError, "ports 40000: it is from 50000"),
    ({"ports": 7}, TypeError, "ports 7: give"),
    ({"ecn": "x"}, ValueError, "ecn 'x': known are off, passive"),
    ({"memory": "x"}, ValueError, "memory 'x': known are private, shared, huge"),
    ({"congestion": "x"}, ValueError, "congestion 'x': known are"),
    ({"addresses": "198.18.0.2/24"}, TypeError, "addresses must be a list"),
    ({"addresses": ["198.18.0.2"]}, ValueError, "no prefix length"),
    ({"gateway": 7}, TypeError, "gateway must be str or IPv4Address, not int"),
    ({"seed": 1.5}, TypeError, "seed must be int or str or bytes, not float"),
    ({"punt_rates": {"x": (1, 1)}}, ValueError, "punt_rates 'x': known are"),
    ({"punt_rates": {"arp": 1}}, TypeError, "give .a second, at once."),
    ({"colour": "blue"}, TypeError, "colour"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "kind", "said"), WRONG)
def test_what_makes_no_sense_is_said_before_anything_is_opened(
    options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        Config(**options)
    with pytest.raises(kind, match=said):
        barewire.Stack("nonsense:x", **options)


def test_it_is_frozen_and_a_stack_takes_it_whole() -> None:
    config = Config(mtu_probing=2, name="whole")
    with pytest.raises(FrozenInstanceError):
        config.mtu_probing = 1  # type: ignore[misc]
    with barewire.Stack(config=config, name="other") as stack:
        assert stack.config == Config(mtu_probing=2, name="other")
        assert stack.name == "other"


def test_documents_and_help_follow() -> None:
    """To write it anew: python -c "from barewire._config import table; print(table(), end='')"."""
    assert _config.table() in (ROOT / "docs" / "options.md").read_text()
    helped = subprocess.run(
        [sys.executable, "-m", "barewire", "run", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    documented = barewire.Stack.__doc__ or ""
    for word, (name, option) in _config.words().items():
        assert f"--{word.replace('_', '-')} {option.metavar}" in helped
        assert f"{name}: {option.help}" in documented
