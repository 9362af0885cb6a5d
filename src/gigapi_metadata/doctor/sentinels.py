"""What sentinels say of the servers that they watch, and of each other. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from gigapi_metadata.doctor.finding import Finding, error, ok, warning
from gigapi_metadata.doctor.together import cli

FEWEST = 3
_DOWN = ("s_down", "o_down", "disconnected")


class Sentinel(msgspec.Struct, frozen=True):
    """One sentinel of the URL, by its `host:port`, and what it says.

    fault: why it gave no answer. refused: its words, if it does not want to answer us. master:
    `host:port`; "" if it knows no such service. flags, replicas, others: of the master, of its
    replicas and of the other sentinels, by `host:port`. quorum: how many have to agree that a
    master is down; verdict: its words about whether so many can be reached.
    """

    name: str
    fault: str = ""
    refused: str = ""
    master: str = ""
    flags: str = ""
    quorum: int = 0
    verdict: str = ""
    replicas: Mapping[str, str] = {}
    others: Mapping[str, str] = {}

    @property
    def answers(self) -> bool:
        """Whether it knows the service."""
        return bool(self.master)


def findings(service: str, sentinels: Sequence[Sentinel]) -> Iterator[Finding]:
    """All that can be said of the group as a whole."""
    answering = [each for each in sentinels if each.answers]
    faults = [*_silent(service, sentinels), *_master(answering), *_quorum(service, answering)]
    faults += [*_others(service, answering, sentinels), *_replicas(service, answering)]
    yield from faults
    if answering and not faults:
        first = answering[0]
        yield ok(
            "sentinels",
            f"{len(answering)} name {first.master} as the master of {service}; quorum "
            f"{first.quorum} of {len(first.others) + 1}, {len(first.replicas)} replicas",
        )


def _silent(service: str, sentinels: Sequence[Sentinel]) -> Iterator[Finding]:
    nobody = not any(each.answers for each in sentinels)
    for each in sentinels:
        if each.fault:
            yield (error if nobody else warning)(
                "sentinels",
                f"{each.name} does not answer: {each.fault}",
                "start it, or take it out of the URL",
            )
        elif each.refused:
            yield error(
                "sentinels",
                f"{each.name} refuses to say: {each.refused}",
                "add ?sentinel_username=…&sentinel_password=… to the URL; docs/security.md has the "
                "rights",
            )
    unaware = [each for each in sentinels if not (each.answers or each.fault or each.refused)]
    if unaware:
        yield error(
            "sentinels",
            f"{_names(unaware)} know no service {service!r}",
            "name the service that they watch in the URL, or on each of them: redis-cli SENTINEL "
            f"MONITOR {service} <master's host> <port> <quorum>",
        )


def _master(answering: Sequence[Sentinel]) -> Iterator[Finding]:
    named = {each.master: each for each in answering}
    if len(named) > 1:
        said = ", ".join(f"{master} (by {each.name})" for master, each in named.items())
        yield error(
            "sentinels",
            f"they do not agree on who is the master: {said}",
            "wait for a failover to end; then SENTINEL RESET at the one that is wrong",
        )
    down = [each for each in answering if is_down(each.flags)]
    if down:
        yield error(
            "sentinels",
            f"the master {down[0].master} is down, as {_names(down)} see it",
            f"start it, or: {cli(down[0].name)}SENTINEL FAILOVER <service>",
        )


def _quorum(service: str, answering: Sequence[Sentinel]) -> Iterator[Finding]:
    unable = [each for each in answering if not each.verdict.startswith("OK")]
    by_words: dict[str, list[Sentinel]] = {}
    for each in unable:
        by_words.setdefault(each.verdict, []).append(each)
    for words, said_by in by_words.items():
        yield error(
            "sentinels",
            f"no failover is possible, by {_names(said_by)}: {words}",
            "start the sentinels that are down, or lower the quorum: "
            f"{cli(said_by[0].name)}SENTINEL SET {service} quorum <number>",
        )
    total = max((len(each.others) + 1 for each in answering), default=FEWEST)
    if total < FEWEST:
        yield warning(
            "sentinels",
            f"there are {total}: when one is lost the rest is no majority, and no replica takes "
            "over",
            "run three or more, on machines of their own",
        )


def _others(
    service: str, answering: Sequence[Sentinel], sentinels: Sequence[Sentinel]
) -> Iterator[Finding]:
    asked = {each.name for each in sentinels}
    down: dict[str, list[Sentinel]] = {}
    for each in answering:
        for name, flags in each.others.items():
            if is_down(flags) and name not in asked:
                down.setdefault(name, []).append(each)
    for name, said_by in down.items():
        yield warning(
            "sentinels",
            f"the sentinel {name} is down, as {_names(said_by)} see it",
            f"start it; if it is gone for good: {cli(said_by[0].name)}SENTINEL RESET {service}",
        )


def _replicas(service: str, answering: Sequence[Sentinel]) -> Iterator[Finding]:
    if not answering:
        return
    said = max(answering, key=lambda each: len(each.replicas))
    down = sorted(name for name, flags in said.replicas.items() if is_down(flags))
    if len(down) == len(said.replicas):
        yield warning(
            "replicas",
            "none is there that could take over when the master is lost",
            f"on another server: redis-cli REPLICAOF {said.master.replace(':', ' ')}",
        )
    for name in down:
        yield warning(
            "replicas",
            f"{name} is down or cut off, as {said.name} sees it",
            "start it, and see its log; if it is gone for good: "
            f"{cli(said.name)}SENTINEL RESET {service}",
        )


def is_down(flags: str) -> bool:
    """Whether a server of these flags is down, or cut off, to a sentinel's eyes."""
    return any(flag in flags.split(",") for flag in _DOWN)


def _names(sentinels: Sequence[Sentinel]) -> str:
    return ", ".join(each.name for each in sentinels)
