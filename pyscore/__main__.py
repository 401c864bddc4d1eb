"""`python -m pyscore`."""

from pyscore.cli.app import main

main()
