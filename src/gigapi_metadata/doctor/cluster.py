"""What a Redis Cluster says of its nodes and slots. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from gigapi_metadata.doctor.finding import Finding, error, note, ok, warning
from gigapi_metadata.doctor.redis_facts import answers_again
from gigapi_metadata.doctor.together import cli

SLOTS = 16384
FEWEST_MASTERS = 3
_FAILING = frozenset({"fail", "fail?", "noaddr"})
_PASSING = frozenset({"handshake"})


class Node(msgspec.Struct, frozen=True):
    """A line of CLUSTER NODES. name: `host:port`. slots: (first, last), …; moving: slots on their
    way to or from another node, which only the node itself tells."""

    id: str
    host: str
    port: int
    flags: frozenset[str]
    master_id: str = ""
    slots: Sequence[tuple[int, int]] = ()
    moving: Sequence[int] = ()

    @property
    def name(self) -> str:
        """As people write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_master(self) -> bool:
        """Whether it is no replica."""
        return "slave" not in self.flags

    @property
    def fails(self) -> bool:
        """Whether the others hold it to be down."""
        return bool(self.flags & _FAILING)

    @property
    def slot_count(self) -> int:
        """How many slots it has."""
        return sum(last - first + 1 for first, last in self.slots)


class ClusterFacts(msgspec.Struct, frozen=True):
    """What was read.

    nodes: as the first host of the URL that answers knows them, none when nobody answers. silent:
    hosts of the URL that gave no answer, and a clause that says what they did instead. unread: the
    same of nodes. states: `cluster_state` of each node that answers; moving: the slots of which it
    says that they are on their way.
    """

    nodes: Sequence[Node] = ()
    silent: Mapping[str, str] = {}
    unread: Mapping[str, str] = {}
    states: Mapping[str, str] = {}
    moving: Sequence[int] = ()


def parse(text: str, asked: str) -> list[Node]:
    """The nodes of the answer to CLUSTER NODES. `asked`: the host that gave it, which may not know
    by what address it is reached."""
    nodes = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 8 or _PASSING & set(words[2].split(",")):
            continue
        host, _, port = words[1].partition(",")[0].partition("@")[0].rpartition(":")
        ranges = [word for word in words[8:] if not word.startswith("[")]
        ends = [(first, last or first) for first, _, last in (r.partition("-") for r in ranges)]
        moving = [word[1:].partition("-")[0] for word in words[8:] if word.startswith("[")]
        nodes.append(
            Node(
                words[0],
                host or asked,
                int(port or 0),
                frozenset(words[2].split(",")),
                "" if words[3] == "-" else words[3],
                [(int(first), int(last)) for first, last in ends],
                [int(slot) for slot in moving],
            )
        )
    return nodes


def findings(facts: ClusterFacts) -> Iterator[Finding]:
    """All that can be said of the cluster as a whole."""
    known = {node.name for node in facts.nodes}
    for name, fault in facts.silent.items():
        if not facts.nodes:
            yield error("cluster", f"{name} {fault}", answers_again(fault))
        elif name not in known:
            yield warning(
                "cluster",
                f"{name}, which the URL names, {fault}",
                "start it, or take it out of the URL",
            )
    if not facts.nodes:
        return
    answering = [name for name in known if name in facts.states] or sorted(known)
    asked = min(answering)
    faults = [
        *_down(facts, asked),
        *_slots(facts.nodes, asked),
        *_states(facts),
        *_replicas(facts),
    ]
    yield from faults
    if not any(each.level in ("warning", "error") for each in faults):
        masters = sum(node.is_master and bool(node.slots) for node in facts.nodes)
        yield ok("cluster", f"{masters} masters, each with a replica; all slots are served")
    if facts.moving:
        yield note(
            "cluster",
            f"{len(facts.moving)} slots are on their way to another node ({_spans(facts.moving)}): "
            "calls on their tables wait",
            f"unless a reshard is running: redis-cli --cluster fix {asked}",
        )


def _down(facts: ClusterFacts, asked: str) -> Iterator[Finding]:
    by_id = {node.id: node for node in facts.nodes}
    for node in facts.nodes:
        fault = facts.unread.get(node.name) or facts.silent.get(node.name)
        if not node.fails and fault is None:
            continue
        how = "is down, as the other nodes see it" if node.fails else str(fault)
        forget = f"start it, or for good: redis-cli --cluster del-node {asked} {node.id}"
        if not node.is_master:
            master = by_id.get(node.master_id)
            whose = f"a replica of {master.name}" if master else "a replica"
            yield warning("cluster", f"{node.name}, {whose}, {how}", forget)
        elif node.slots:
            heirs = [
                each
                for each in facts.nodes
                if each.master_id == node.id and each.name in facts.states
            ]
            takeover = f", or: {cli(heirs[0].name)}CLUSTER FAILOVER TAKEOVER" if heirs else ""
            yield error(
                "cluster",
                f"{node.name}, a master with {node.slot_count} slots, {how}: their tables are "
                "neither read nor written",
                f"{answers_again(how)}{takeover}",
            )
        else:
            yield warning("cluster", f"{node.name}, a master without slots, {how}", forget)


def _slots(nodes: Sequence[Node], asked: str) -> Iterator[Finding]:
    given = bytearray(SLOTS)
    for node in nodes:
        for first, last in node.slots:
            given[first : last + 1] = b"\1" * (last + 1 - first)
    missing = [slot for slot in range(SLOTS) if not given[slot]]
    if missing:
        yield error(
            "cluster",
            f"{len(missing)} slots have no node ({_spans(missing)}): their tables are neither read "
            "nor written",
            f"redis-cli --cluster fix {asked}",
        )


def _states(facts: ClusterFacts) -> Iterator[Finding]:
    bad = sorted(name for name, state in facts.states.items() if state != "ok")
    if bad:
        yield error(
            "cluster",
            f"by {', '.join(bad)} the cluster is down (cluster_state {facts.states[bad[0]]})",
            f"redis-cli --cluster check {bad[0]}",
        )


def _replicas(facts: ClusterFacts) -> Iterator[Finding]:
    masters = [node for node in facts.nodes if node.is_master and node.slots]
    lost = facts.unread.keys() | facts.silent.keys()
    followed = {node.master_id for node in facts.nodes if not node.fails and node.name not in lost}
    alone = [node.name for node in masters if node.id not in followed]
    if alone:
        yield warning(
            "cluster",
            f"{len(alone)} of {len(masters)} masters have no replica ({', '.join(alone)}): the "
            "tables of one that is lost are",
            f"redis-cli --cluster add-node HOST:PORT {alone[0]} --cluster-slave",
        )
    if len(masters) < FEWEST_MASTERS:
        yield warning(
            "cluster",
            f"{len(masters)} masters: when one is lost the others are no majority, and no replica "
            "takes over",
            f"redis-cli --cluster add-node HOST:PORT {masters[0].name if masters else 'HOST:PORT'}",
        )


def _spans(numbers: Iterable[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in spans]
    return ", ".join(texts[:5]) + (", …" if len(texts) > 5 else "")
