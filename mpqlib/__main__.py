"""Command line: python -m mpqlib run | sweep | evaluate | report | grid | landscape | develop | bench | control-steps | grade, each with --help."""

import sys

import tyro

from mpqlib import benchmarks, experiments, grading, report, studies

COMMANDS = {"run": experiments.run, "sweep": experiments.sweep, "evaluate": experiments.evaluate_file,
            "report": report.report, "grid": studies.grid, "landscape": studies.landscape,
            "develop": experiments.develop, "bench": benchmarks.bench, "control-steps": benchmarks.control_steps, "grade": grading.grade}


def main(arguments=None) -> int:
    """Run the command line; an error of the user's is one line on stderr and exit code 2."""
    try:
        result = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="mpqlib", args=arguments)
        print(result if isinstance(result, str) else experiments.summary(result))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
