"""Keep what an unforeseen error says from Prefect, which stores it and may send it to a server."""

from collections.abc import Iterator
from contextlib import contextmanager

from noisegate.errors import NoisegateError, UnforeseenError


@contextmanager
def unquoted() -> Iterator[None]:
    """Inside (or in a function decorated with it), only errors of ours leave with their words.

    Causes go too: Prefect logs whole chains. The frames stay, so a traceback says where it was.
    Timeouts and cancellations are no `Exception` while they pass here.

    Raises:
        UnforeseenError: anything that is no NoisegateError was raised.
    """
    try:
        yield
    except (NoisegateError, UnforeseenError) as error:
        raise error from None
    except Exception as error:
        raise UnforeseenError(type(error).__name__).with_traceback(error.__traceback__) from None
