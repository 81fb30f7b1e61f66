"""Plays every order of rollouts with log-normal lengths and prints docs/rl.md's table: `python -m benchmarks.model.rl_orders`."""

import numpy as np

from ernest.rl.buffer import POLICIES
from ernest.rl.simulation import log_normal_lengths, play

UPDATES, BATCH, AHEAD, WORKERS, SEEDS = 100, 32, 3, 32, 3


def main() -> None:
    print("| order | time | utilisation | share trained | length, first two | length, all | age, mean | age, most |")
    print("|---|---|---|---|---|---|---|---|")
    reference = np.mean([play("synchronous", log_normal_lengths(s), UPDATES, BATCH, 1, WORKERS).time for s in range(SEEDS)])
    for order in POLICIES:
        played = [play(order, log_normal_lengths(seed), UPDATES, BATCH, AHEAD, WORKERS) for seed in range(SEEDS)]
        mean = lambda values: float(np.mean(list(values)))
        row = (
            f"{mean(p.time for p in played) / reference:.2f}",
            f"{mean(p.utilisation for p in played):.2f}",
            f"{mean(p.share_trained for p in played):.3f}",
            f"{mean(np.mean(p.length_ratio[:2]) for p in played):.2f}",
            f"{mean(np.mean(p.length_ratio) for p in played):.2f}",
            f"{mean(p.age for p in played):.2f}",
            f"{max(p.oldest for p in played)}",
        )
        print(f"| {order} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
