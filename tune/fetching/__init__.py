"""The public data of published experiments, from where they are published into folders that `--data` reads."""
