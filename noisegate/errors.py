"""The errors a user can meet: each names what is wrong and the way out, and has an exit code."""


class NoisegateError(Exception):
    """Any error a user can meet: its message says what to do, and never quotes an alert's text."""

    exit_code = 1


class UnforeseenError(RuntimeError):
    """Stands for an error that nobody foresaw and that might quote an alert: names its class."""


class SettingsError(NoisegateError):
    """A setting or a command-line option is wrong or contradicts another."""

    exit_code = 2


class InputError(NoisegateError):
    """Data handed in (a file, a query, a row) cannot be used as it is."""

    exit_code = 3


class MissingError(NoisegateError):
    """Something that an earlier command makes (a snapshot, a model, a table) is not there."""

    exit_code = 4


class UnreachableError(NoisegateError):
    """A system beyond the wall (database, Prometheus, MLflow, Ray) does not answer as it should."""

    exit_code = 5


class BusyError(NoisegateError):
    """Another run holds the lease."""

    exit_code = 6


class PolicyError(NoisegateError):
    """What the operators ask for cannot be promised or cannot be true."""

    exit_code = 7
