"""Names of persons by a model that its user brings: spaCy or a transformer, off by default."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from noisegate.errors import SettingsError
from noisegate.scrub.policy import PSEUDONYM
from noisegate.scrub.rule import Span, words
from noisegate.scrub.user_rules import SYSTEM_ACCOUNTS
from noisegate.scrub.view import mend

People = Callable[[Sequence[str]], list[list[Span]]]
"""Texts in, the spans (start, end) of the names in each out: sorted, disjoint, in characters."""

_WINDOW_CHARS, _OVERLAP_CHARS = 1_200, 128
_BATCH = 16
"""Texts read at once: more would need memory for attention, not save time."""
_MOST_TOKENS = 512
_LONGEST_NAME = 64

# The labels that models are trained with: CoNLL, OntoNotes, the treebanks' own, PII models.
_PERSON_LABELS = words(
    "PER PERSON PERS PRS PS PERSNAME NAME FULLNAME FIRSTNAME MIDDLENAME LASTNAME GIVENNAME SURNAME"
)
_UPSTREAM = words("tok2vec transformer curated_transformer")
"""spaCy's components that a recogniser may read its vectors from."""

# Models take these for names: systems called after persons and gods, accounts, words of alerts.
_NO_NAMES = SYSTEM_ACCOUNTS | words(
    "admin administrator airflow alertmanager ambari ansible apache argo atlas bastion"
    " cassandra celery ceph cilium consul cron docker druid elastic elasticsearch envoy flink"
    " fluentd gitlab grafana guest hadoop haproxy harbor helm hive istio jaeger jenkins kafka"
    " karpenter keycloak kibana kong kube kubelet kubernetes linkerd loki mariadb minio mongo"
    " mongodb mysql nagios nginx node nomad operator oracle pod postfix postgres postgresql"
    " prometheus puppet rabbitmq rancher ray redis rollouts rook search sentry service solr"
    " spark splunk squid superset tempo terraform thanos tomcat traefik trino user vault velero"
    " zabbix zookeeper"
)

_TOKEN = rf"<[A-Z][A-Z0-9_]{{0,39}}(?:{PSEUDONYM})?>"
_BREAK = re.compile(rf"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|\\[nrt]|\0|(?P<token>{_TOKEN})")
_PIECE = re.compile(r"[^\n\0]++")
_WORD = re.compile(r"\S++")
_LETTERS = re.compile(r"[^\W\d_]{2}")
_POSSESSIVE = re.compile(r"['’][sS]$")
_WRAPPING = "'\"`.,;:!?()[]{}<>|*-–—…«»“”„‘’/\\=@#_~+&"
# What stands beside a part of a host, pod, path, key or address. A dot or colon at the end of a
# clause does not; a token of ours does, for it may stand for a part that was scrubbed.
_LEFT_OF_PART = frozenset("-._/\\:=@\0")
_RIGHT_OF_PART = re.compile(r"[\w/\\=@\0]|[-.:][\w/\0]")
_OPERATIONAL = re.compile(r'[\d_/\\:=@<>|{}\[\]()$%#*+~&;,"!?^`]')
_HUMPS = re.compile(r"[a-z][A-Z]")
_HUMPED_NAME = re.compile(r"(?:Mc|Mac|De|Di|Du|La|Le|Van|Von|Fitz|Ben)[A-Z][a-z]++$")


def load_names(kind: str, model: str) -> People:
    """Load a recogniser of persons' names, to be called with many texts at once.

    Args:
        kind: `spacy` or `transformers`.
        model: the folder of a saved model; else an installed spaCy package, or a name on the
            Hugging Face hub (from its cache if HF_HUB_OFFLINE is set).

    Returns:
        A function of texts. Long texts are read in windows, so that time is linear; it runs on the
        CPU, with as many threads as PyTorch is told to use.

    Raises:
        SettingsError: no such kind, package or model, or the model does not know persons.
    """
    loaders = {"spacy": _load_spacy, "transformers": _load_transformer}
    if kind not in loaders:
        raise SettingsError(f'names is "{kind}": choose "off", "spacy" or "transformers"')
    if not model:
        raise SettingsError(f'names is "{kind}" but names_model is empty: {_OFFLINE[kind]}')
    recognise = loaders[kind](model)

    def people(texts: Sequence[str]) -> list[list[Span]]:
        mended = [mend(text) for text in texts]
        pieces = [
            (row, *window)
            for row, text in enumerate(mended)
            for window in _windows(text)
            if _LETTERS.search(window[1])
        ]
        found: list[list[Span]] = [[] for _ in mended]
        recognised = recognise([piece for _, _, piece in pieces])
        for (row, first, _), spans in zip(pieces, recognised, strict=True):
            found[row] += [(first + start, first + end) for start, end in spans]
        return [persons(text, spans) for text, spans in zip(mended, found, strict=True)]

    return people


def persons(text: str, spans: Sequence[Span]) -> list[Span]:
    """What of a recogniser's spans can be names of persons in operational text.

    Models are trained on prose and take hosts, services and alerts for persons. A word that is a
    part of something longer (`-`, `.`, `/`, `=`, `@`, a digit beside or in it) is no name; nor is
    a word alone that is written LIKETHIS, LikeThis, or is a known system or account.

    Args:
        text: any text.
        spans: any spans, in any order; they may overlap.

    Returns:
        Spans within those of `spans`, sorted and disjoint: none empty, none with a line break or
        with any character of our own tokens.
    """
    if not spans:
        return []
    masked = _BREAK.sub(lambda found: ("\0" if found["token"] else "\n") * len(found[0]), text)
    names: list[Span] = []
    for start, end in _union(spans):
        for piece in _PIECE.finditer(masked, start, end):
            parts = _WORD.finditer(masked, *piece.span())
            names += _runs(masked, (_bare(masked, *part.span()) for part in parts))
    return names


def _union(spans: Sequence[Span]) -> list[Span]:
    """Sorted spans; those that overlap (they come from two windows) as one."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _bare(text: str, start: int, end: int) -> Span:
    """A word without the punctuation around it; empty where it is nothing else."""
    word = text[start:end]
    start += len(word) - len(word := word.lstrip(_WRAPPING))
    word = word.rstrip(_WRAPPING)
    return start, start + len(_POSSESSIVE.sub("", word))


def _runs(text: str, bare: Iterable[Span]) -> Iterator[Span]:
    """Runs of words that may be a name's, as one span each; only dots and blanks are in between."""
    run: list[Span] = []
    for word in (*bare, (0, 0)):  # an empty one ends the last run
        apart = bool(run) and text[run[-1][1] : word[0]].strip() not in ("", ".")
        part = _may_be_part_of_name(text, *word)
        if run and (apart or not part):
            if _may_be_name([text[start:end] for start, end in run], run[-1][1] - run[0][0]):
                yield run[0][0], run[-1][1]
            run = []
        if part:
            run.append(word)


def _may_be_part_of_name(text: str, start: int, end: int) -> bool:
    word = text[start:end]
    if not any(map(str.isalpha, word)) or _OPERATIONAL.search(word):
        return False
    left = text[start - 1 : start]
    if left in _LEFT_OF_PART or left.isalnum() or _RIGHT_OF_PART.match(text, end):
        return False
    return not (word.islower() and ("-" in word or "." in word))  # node-exporter, api.internal


def _may_be_name(name: Sequence[str], length: int) -> bool:
    if length > _LONGEST_NAME or all(word.casefold() in _NO_NAMES for word in name):
        return False
    if len(name) > 1:
        return True
    word = name[0]
    if len(word) < 2 or word.isupper():
        return False
    return _HUMPS.search(word) is None or _HUMPED_NAME.match(word) is not None


def _windows(text: str) -> Iterator[tuple[int, str]]:
    """Overlapping windows of a text, with their offsets: a name whole in one of them is found."""
    first = 0
    while first + _WINDOW_CHARS < len(text):
        yield first, text[first : first + _WINDOW_CHARS]
        first += _WINDOW_CHARS - _OVERLAP_CHARS
    yield first, text[first:]


def _is_person(label: str) -> bool:
    """Whether a model's label means a person, with or without a prefix such as `B-`."""
    return re.sub(r"^[BIELSU][-_]|[-_]", "", label.upper()) in _PERSON_LABELS


_OFFLINE = {
    "spacy": (
        "install a spaCy pipeline package (such as en_core_web_sm, a wheel from "
        "github.com/explosion/spacy-models), or name the folder of a saved pipeline"
    ),
    "transformers": (
        "name a folder with a token-classification model (save_pretrained of model and tokenizer "
        "where there is a network, then copy it), or a hub name that can be reached from here"
    ),
}


def _load_spacy(model: str) -> People:
    try:
        import spacy
    except ImportError:
        raise SettingsError(
            'names is "spacy" but spaCy is not installed: pip install "noisegate[names]"'
        ) from None
    try:
        nlp = spacy.load(model)
    except (OSError, ValueError, ImportError) as error:
        raise SettingsError(
            f'names_model "{model}" cannot be loaded by spaCy ({type(error).__name__}): '
            f"{_OFFLINE['spacy']}"
        ) from None
    finders = [name for name in nlp.pipe_names if "doc.ents" in nlp.get_pipe_meta(name).assigns]
    if not any(_is_person(label) for name in finders for label in nlp.pipe_labels[name]):
        raise SettingsError(
            f'names_model "{model}" finds no persons: its pipeline ({", ".join(nlp.pipe_names)}) '
            "needs a component ner or entity_ruler with the label PERSON or PER"
        )
    idle = [name for name in nlp.pipe_names if name not in finders and not _feeds(nlp, name)]

    def recognise(texts: Sequence[str]) -> list[list[Span]]:
        return [
            [(ent.start_char, ent.end_char) for ent in doc.ents if _is_person(ent.label_)]
            for doc in nlp.pipe(texts, disable=idle)
        ]

    return recognise


def _feeds(nlp: Any, name: str) -> bool:
    """Whether a component of the pipeline makes vectors that its recogniser listens to."""
    if nlp.get_pipe_meta(name).factory not in _UPSTREAM:
        return False
    return "ner" in getattr(nlp.get_pipe(name), "listening_components", ["ner"])


def _load_transformer(model: str) -> People:
    # Before the import, which reads it: nobody is told that we run.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # A tokenizer would start a thread for every core, whatever PyTorch is told.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import torch
        import transformers
    except ImportError:
        raise SettingsError(
            'names is "transformers" but that package is not installed: pip install transformers'
        ) from None
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        network = transformers.AutoModelForTokenClassification.from_pretrained(model).eval()
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise SettingsError(
            f'names_model "{model}" cannot be loaded by transformers ({type(error).__name__}): '
            f"{_OFFLINE['transformers']}"
        ) from None
    labels = network.config.id2label
    person = [index for index, label in labels.items() if _is_person(label)]
    if not person:
        raise SettingsError(
            f'names_model "{model}" finds no persons: none of its labels '
            f"({', '.join(list(labels.values())[:8])}) is PER or PERSON, such as B-PER"
        )
    if not tokenizer.is_fast:
        raise SettingsError(
            f'names_model "{model}" has no fast tokenizer, which gives offsets: choose another'
        )
    room = min(tokenizer.model_max_length, _positions(network.config))

    def run(batch: Sequence[str]) -> Iterator[tuple[int, list[Span]]]:
        read = tokenizer(
            batch,
            truncation=True,
            max_length=room,
            stride=room // 4,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            return_tensors="pt",
        )
        rows, offsets = read.pop("overflow_to_sample_mapping"), read.pop("offset_mapping")
        with torch.inference_mode():
            shares = network(**read).logits.softmax(-1)[..., person].sum(-1)
        for place, row in enumerate(rows.tolist()):
            spans = offsets[place].tolist()
            yield row, _named_words(read.word_ids(place), spans, shares[place].tolist())

    def recognise(texts: Sequence[str]) -> list[list[Span]]:
        found: list[list[Span]] = [[] for _ in texts]
        by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # little padding
        for first in range(0, len(by_length), _BATCH):
            rows = by_length[first : first + _BATCH]
            for place, spans in run([texts[row] for row in rows]):
                found[rows[place]] += spans
        return found

    return recognise


def _positions(config: Any) -> int:
    """How many tokens a model can read; some reserve two positions for padding."""
    positions = getattr(config, "max_position_embeddings", None) or 0
    return min(_MOST_TOKENS, positions - 2) if positions > 16 else _MOST_TOKENS


def _named_words(
    word_ids: Sequence[int | None], offsets: Sequence[Sequence[int]], shares: Sequence[float]
) -> list[Span]:
    """Spans of successive words whose tokens are, on average, more likely a person's than not.

    Args:
        word_ids: the word of each token; None: a token of the model's own.
        offsets: (start, end) of each token in characters.
        shares: probability in [0, 1] of each token to be of a person.
    """
    names: list[Span] = []
    tokens: dict[int, list[int]] = {}
    for place, word in enumerate(word_ids):
        if word is not None:
            tokens.setdefault(word, []).append(place)
    last = -2
    for word, places in tokens.items():
        if sum(shares[place] for place in places) < len(places) / 2:
            continue
        start, end = offsets[places[0]][0], offsets[places[-1]][1]
        if word == last + 1:
            start = names.pop()[0]
        names.append((start, end))
        last = word
    return names
