"""Ten thousand mutated YAML files: each becomes a topology or a list of problems, never a traceback."""

from __future__ import annotations

import random
import re
from pathlib import Path

from testbed.errors import InputError
from testbed.places import home
from testbed.seeds import stream
from testbed.topology.load import load

NASTY = [
    "", "~", "null", "{}", "[]", "[[]]", "- ", "? ", ": ", "&a ", "*a", "!!int ", "!x ", "<<: *a", "|", ">", "%",
    "@", "`", "#", "'", "\"", "\\", "\t", "\n", "\n\n  ", "---\n", "...\n", "\u0000", "\x85", "\ufeff", "\ud7ff",
    "\xe9", "\U0001d4b3", "-1", "0", "1e999", ".nan", ".inf", "0x", "0o9", "1_", "5", "7.5", "true", "no",
    "2020-01-01", "10ms", "10", "10Mbit", "-5%", "200%", "0p", "h1", "r1", "s1", "[h1, h1]", "[h1, s1, r1]",
    "{kind: switch}", "{kind: router}", "{ends: [h1, r1]}", "none", "fd00::/64", "10.0.0.0/24", "10.0.0.1/8",
    "10.0.0.0/31", "::/0", "0.0.0.0/0", "255.255.255.255/32", "delay", "links", "nodes", "lans", "generate",
    "addresses", "subnets", "members", "hops", "family", "star", "ring", "prefix", "tags", "name", "mtu", "9999",
]  # fmt: skip
TOKEN = re.compile(r"[\w.%/:-]+|[\[\]{},]")


def seeds() -> list[str]:
    """The files that are mutated: all that come with the program, and the faulty ones of the golden pairs."""
    golden = Path(__file__).parents[2] / "golden" / "errors"
    paths = [*sorted((home() / "topologies").glob("*.yaml")), *sorted(golden.glob("*.yaml"))]
    texts = (re.sub(r"#.*\n", "", path.read_bytes().decode("utf-8", "replace")) for path in paths)
    return [text for text in texts if 0 < len(text) < 1500]


def mutated(text: str, rng: random.Random) -> str:
    """``text`` after one to four small accidents."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        lines = text.splitlines(keepends=True)
        tokens = list(TOKEN.finditer(text))
        match rng.randrange(9):
            case 0:  # a letter is lost
                text = text[:at] + text[at + 1 :]
            case 1:  # something is typed in between
                text = text[:at] + rng.choice(NASTY) + text[at:]
            case 2 if tokens:  # a word is another
                token = rng.choice(tokens)
                text = text[: token.start()] + rng.choice(NASTY) + text[token.end() :]
            case 3 if len(tokens) > 1:  # two words change places
                one, other = sorted(rng.sample(tokens, 2), key=lambda token: token.start())
                text = (text[: one.start()] + other[0] + text[one.end() : other.start()] + one[0]
                        + text[other.end() :])  # fmt: skip
            case 4 if lines:  # a line is lost, or comes twice
                line = rng.randrange(len(lines))
                lines[line : line + 1] = [lines[line]] * rng.choice((0, 2))
                text = "".join(lines)
            case 5 if lines:  # a line is indented differently
                line = rng.randrange(len(lines))
                lines[line] = rng.choice((" ", "  ", "\t", "- ")) + lines[line].lstrip(rng.choice((" ", "")))
                text = "".join(lines)
            case 6:  # the end is missing
                text = text[:at]
            case 7 if tokens:  # a word is lost
                token = rng.choice(tokens)
                text = text[: token.start()] + text[token.end() :]
            case 8:  # a part comes twice
                text = text[:at] + text[at : at + rng.randint(1, 30)] + text[at:]
    return text


def test_mutated_files_end_in_a_topology_or_in_problems(long: bool, tmp_path: Path) -> None:
    corpus, refused, count = seeds(), 0, 20_000 if long else 10_000
    file = tmp_path / "net.yaml"
    for number in range(count):
        rng = stream(number, "mutated files")
        text = mutated(rng.choice(corpus), rng)
        raw = bytearray(text.encode("utf-8", "surrogatepass"))
        if raw and rng.random() < 0.02:
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        file.write_bytes(raw)
        try:
            topology = load(file)
        except InputError as error:
            refused += 1
            assert error.problems and all(problem.found and problem.expected for problem in error.problems)
            assert all("\n" not in str(problem) for problem in error.problems), text
        else:
            assert topology.nodes and topology.digest
    assert 0.5 * count < refused < count
