"""Figures of many rounds to a table and a file."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable
from pathlib import Path

from cases import CASES, HIGHER_IS_BETTER, Figures

# Case, then broker, to the figures of each round.
Results = dict[str, dict[str, list[Figures]]]


def machine() -> dict[str, str]:
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": str(os.cpu_count()),
        "processor": models[0].split(":", 1)[1].strip() if models else platform.machine(),
        "memory": f"{int(memory.split()[1]) / 1e6:.1f} GB",
        "kernel": platform.release(),
    }


def median(rounds: Iterable[Figures], figure: str) -> float:
    return statistics.median(figures[figure] for figures in rounds)


def table(results: Results) -> str:
    rows = ["| case | figure | millstream | kafka | ratio | aim |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for case in CASES:
        brokers = results.get(case.name, {})
        if not brokers:
            continue
        for figure in next(iter(brokers.values()))[0]:
            medians = {name: median(rounds, figure) for name, rounds in brokers.items()}
            rows.append(row(case.name, figure, medians, case.aims.get(figure)))
    return "\n".join(rows)


def row(case: str, figure: str, medians: dict[str, float], aim: float | None) -> str:
    ours, theirs = medians.get("millstream"), medians.get("kafka")
    ratio = ours / theirs if ours is not None and theirs else None
    verdict = ""
    if aim is not None:
        sign = "≥" if figure in HIGHER_IS_BETTER else "≤"
        verdict = f"{sign} {aim:g}"
        if ratio is not None:
            reached = ratio >= aim if figure in HIGHER_IS_BETTER else ratio <= aim
            verdict += " ✓" if reached else " ✗"
    return f"| {case} | {figure} | {shown(ours)} | {shown(theirs)} | {shown(ratio)} | {verdict} |"


def shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def alone_table(figures: dict[str, float], aims: dict[str, tuple[str, float]]) -> str:
    """Figures of Millstream by itself, with what they are to be: at most or at least."""
    rows = ["| millstream alone | figure | aim |", "| --- | ---: | --- |"]
    for name, value in figures.items():
        verdict = ""
        if name in aims:
            sign, aim = aims[name]
            reached = value <= aim if sign == "≤" else value >= aim
            verdict = f"{sign} {aim:g} {'✓' if reached else '✗'}"
        rows.append(f"| {name} | {shown(value)} | {verdict} |")
    return "\n".join(rows)


def write(path: Path, **everything: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(everything, indent=2) + "\n")
