"""Run a command while every core is kept busy by something else: python tests/loaded.py COMMAND …

Two processes a core do nothing but multiply, so that the command gets a third of the machine. The exit code is the
command's.
"""

import multiprocessing
import os
import subprocess
import sys


def burn():
    x = 1.0
    while True:
        x = x * 1.0000001 % 1e6


def main(command):
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(2 * os.cpu_count())]
    for burner in burners:
        burner.start()
    try:
        return subprocess.call(command)
    finally:
        for burner in burners:
            burner.terminate()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
