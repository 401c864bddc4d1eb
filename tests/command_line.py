"""Running a command of pyscore in this process."""

from pyscore.cli.app import main


def run(capsys, *arguments):
    """Exit status, stdout, stderr of one command."""
    try:
        main([str(a) for a in arguments])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    out = capsys.readouterr()
    return status, out.out, out.err
