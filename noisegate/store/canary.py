"""The canary: made-up personal data and secrets, sent the way of alerts before real ones go it.

What comes out unscrubbed is counted as an event, never raised: whether a miss stops the next run is
for the people who are told of it to say.
"""

import logging
import re
import time

import pyarrow as pa
from sqlalchemy import Engine

from noisegate.alert import Origin
from noisegate.scrub import Entity, Scrubber
from noisegate.scrub.config import load_scrubber
from noisegate.settings import Settings
from noisegate.store.database import writing
from noisegate.store.facts import Event, Kind, append_events
from noisegate.store.identity import Identity
from noisegate.store.prepare import LABEL, prepare
from noisegate.store.runs import database_now, store_errors

# Not the rules' own examples: a rule that somebody deletes must not take its canary along. Pieces
# are put together here, so that no scanner of this repository takes them for real secrets.
PLANTED: dict[Entity, tuple[str, str]] = {
    Entity.PRIVATE_KEY: (
        "-----BEGIN RSA PRIV" + "ATE KEY-----\n{}\n-----END RSA PRIV" + "ATE KEY-----",
        "MIIEbeakandtalon",
    ),
    Entity.JWT: ("token {} refused", "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJraXdpIn0.cGx1bWFnZQ"),
    Entity.URL_CREDENTIALS: ("cannot open amqp://{}@mq:5672/vh", "kiwisvc:Plum4gePass"),
    Entity.AWS_KEY: ("signed with {} at once", "AKIA" + "KIWIPLUMAGE7CNRY"),
    Entity.SECRET: ("login failed: password={}", "Plum4geS3cret"),
    Entity.EMAIL: ("mail to {} bounced", "kiwi.plumage@aviary.example.com"),
    Entity.IBAN: ("transfer from {} failed", "DE89 3704 0044 0532 0130 00"),
    Entity.CREDIT_CARD: ("card {} declined", "4012 8888 8888 1881"),
    Entity.PHONE: ("pager of {} does not answer", "+1 (415) 555-0187"),
    Entity.SSN: ("applicant ssn {} not found", "536-22-8714"),
    Entity.MAC: ("lease for {} expired", "00:1A:2B:7C:8D:9E"),
    Entity.IPV6: ("no route to {} from here", "2001:db8::7c1a:370:7334"),
    Entity.IPV4: ("connection from {} refused", "198.51.100.87"),
    Entity.USER: ("open /home/{}/.kube/config failed", "wrenfinch"),
    Entity.NATIONAL_ID: ("payee with codice fiscale {} unknown", "RSSMRA85T10A562S"),
}
"""Of every entity a text, and what stands in it and must not be there any more."""

_log = logging.getLogger(__name__)


def missed(texts: str) -> list[Entity]:
    """The entities of which something is left in these texts: whole, or one longer piece of it."""
    return [
        entity
        for entity, (_, value) in PLANTED.items()
        if value in texts or any(piece in texts for piece in re.findall(r"\w{5,}", value))
    ]


def plant(
    settings: Settings, engine: Engine, origin: str, scrubber: Scrubber | None = None
) -> list[Entity]:
    """Send the canary through identification and scrubbing, and record how it came out.

    It stands once in the message and once in a label of an alert; none of it is stored. What the
    settings let stand is not planted: that it stays is no miss.

    Args:
        settings: of the identity and of the scrubber.
        engine: our store, which gets the event.
        origin: of the run that plants it.
        scrubber: the one that alerts go through; None: as they do.

    Returns:
        The entities that were missed.

    Raises:
        UnreachableError: the database does not answer.
    """
    scrubber = scrubber or load_scrubber(settings.scrub)
    texts = [
        text.format(value)
        for entity, (text, value) in PLANTED.items()
        if not scrubber.lets_stand(entity, value)
    ]
    if not texts:
        return []
    raw = pa.record_batch(
        {
            "service": ["canary"] * len(texts),
            "name": ["canary"] * len(texts),
            "message": texts,
            f"{LABEL}text": texts,
            "starts_at": [int(time.time())] * len(texts),
        }
    )
    done = prepare(
        raw,
        identity=Identity.from_settings(settings),
        scrubber=scrubber,
        source="canary",
        origin=Origin(origin),
    )
    came_out = {name: done.alerts.column(name).to_pylist() for name in ("message", "labels")}
    found = [entity for column in came_out.values() for entity in missed("\n".join(column))]
    if found:
        _log.error("the scrubber missed made-up data of %s", ", ".join(sorted(set(found))))
    with store_errors(engine), writing(engine) as connection:
        now = database_now(connection)
        payload = {"planted": len(came_out) * len(texts), "missed": len(found)}
        append_events(connection, [Event(Kind.CANARY, now, now, Origin(origin), payload)])
    return found
