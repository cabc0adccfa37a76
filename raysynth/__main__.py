"""`python -m raysynth`: the `raysynth` command where the script is not on the path (jobs, containers)."""

from raysynth.cli import main

if __name__ == "__main__":
    main()
