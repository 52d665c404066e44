"""Define judges. Any change of what is asked, of whom or how makes a new version; the same content is the same one."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from annotation.criteria import OVERALL
from annotation.models import Project, Rater, RaterKind
from annotation.models.pairs import content_hash
from judges.combining import combined_content
from judges.errors import JudgeError
from judges.local import MODEL_NAME, require_local_judge
from judges.models import COMBINED, RULES, Judge, JudgeKind, JudgeVersion
from judges.options import Options, check_options
from judges.prompting import default_max_tokens, layout_hash, system_message
from judges.questions import SCORED_ALONE, Protocol

SAMPLING_NAMES = {"max_tokens", "temperature", "top_p", "seed", "reasoning_effort"}
# What a model that our own workers run may be told: it takes the likeliest text, in this arithmetic.
GPU_SAMPLING_NAMES = {"max_tokens", "temperature", "dtype"}
DTYPES = ("bfloat16", "float32")
# Kinds that ask a model behind a server.
SERVED = {JudgeKind.OPENAI, JudgeKind.DECISIONS, JudgeKind.BATCH}
ADDED = sorted(set(JudgeKind.values) - {JudgeKind.RECORDED.value})


NO_CRITERIA = "It has none yet: create_project --criterion makes them, and so do imported ratings."


class Prices(NamedTuple):
    """US dollars per million tokens, and per hour of a GPU. Cached input without a price costs as other input."""

    input: Decimal | None = None
    output: Decimal | None = None
    cached: Decimal | None = None
    gpu: Decimal | None = None


# What each price is of, as `JudgeVersion` has it.
PRICE_FIELDS = {
    "input": "price_input_usd_per_million",
    "output": "price_output_usd_per_million",
    "cached": "price_cached_usd_per_million",
    "gpu": "price_gpu_usd_per_hour",
}


class _Content(NamedTuple):
    """Everything of a version that changes its answers."""

    kind: str
    base_url: str = ""
    model: str = ""
    protocol: str = ""
    prompt_template: str = ""
    layout: str = ""
    sampling: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    fitted: Mapping[str, Any] = {}
    files_hash: str = ""

    def digest(self) -> str:
        """Return the hash of all of it. What came later and is empty is left out: older versions keep theirs."""
        return content_hash({name: value for name, value in self._asdict().items() if value or name != "files_hash"})


def add_judge(
    project: Project,
    name: str,
    *,
    kind: str,
    base_url: str = "",
    model: str = "",
    protocol: str = Protocol.PAIRWISE,
    sampling: Mapping[str, Any] | None = None,
    options: Options | None = None,
    price_input_usd_per_million: Decimal | None = None,
    price_output_usd_per_million: Decimal | None = None,
    price_cached_usd_per_million: Decimal | None = None,
    price_gpu_usd_per_hour: Decimal | None = None,
) -> JudgeVersion:
    """Return the judge's version with this content, made if there is none yet.

    The project's guidelines and criteria are frozen into it: adding the judge again after they changed makes a new
    version. A learned judge is fitted now; the files of a model that our own workers run are read now. Prices are not
    content: giving others updates them on the version. Raises `JudgeError` naming what is wrong with the definition.
    """
    name = name.strip()
    if not name or len(name) > 100:
        raise JudgeError("A judge needs a name of 1 to 100 characters.")
    prices = _prices(
        kind,
        Prices(
            price_input_usd_per_million,
            price_output_usd_per_million,
            price_cached_usd_per_million,
            price_gpu_usd_per_hour,
        ),
    )
    if kind == JudgeKind.GPU:
        content = _run_here(project, model, protocol, dict(sampling or {}), options or Options())
    elif kind in SERVED:
        content = _served(project, kind, base_url, model, protocol, dict(sampling or {}), options or Options())
    else:
        content = _unserved(project, kind, dict(sampling or {}), options or Options())
    with transaction.atomic():
        return _version(project, name, content, prices)


def check_address(base_url: str) -> str:
    """Return a model server's address in its normal form. Raises `JudgeError` for one that must not be asked.

    Asked when a judge is added and again before it is used: the operator may have narrowed the list since.
    """
    try:
        parts = urlsplit(base_url.strip())
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise JudgeError("The judge's address is no URL. Example: https://api.openai.com/v1") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise JudgeError("The judge's address must start with http:// or https://, as in https://api.openai.com/v1")
    if parts.username is not None or parts.password is not None:
        raise JudgeError(
            "The judge's address holds a name or password. Keys belong into TIEBREAK_JUDGE_KEYS, by host; "
            "nothing of them is stored."
        )
    if parts.query or parts.fragment:
        raise JudgeError("The judge's address must end with its path: no '?' and no '#'.")
    if host not in settings.JUDGE_HOSTS:
        raise JudgeError(
            f"The host {host} is not among those a judge may be asked at ({', '.join(settings.JUDGE_HOSTS)}). "
            "The operator adds it to TIEBREAK_JUDGE_HOSTS."
        )
    if parts.scheme == "http" and key_of(base_url) and not _is_loopback(host):
        raise JudgeError(f"{host} has a key, which must not travel unencrypted. Use https://.")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def key_of(base_url: str) -> str:
    """Return the key that belongs to an address's host (`host:port` first, then `host`), or ''."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").lower()
    keys: Mapping[str, str] = settings.JUDGE_KEYS
    return keys.get(f"{host}:{parts.port}", "") or keys.get(host, "")


def _served(
    project: Project,
    kind: str,
    base_url: str,
    model: str,
    protocol: str,
    sampling: dict[str, Any],
    options: Options,
) -> _Content:
    """Return the content of a judge behind a server."""
    if not base_url.strip() or not model.strip():
        raise JudgeError("A judge behind a server needs its address and model: --base-url and --model.")
    if kind == JudgeKind.DECISIONS:
        protocol = Protocol.DECISIONS
    elif protocol not in Protocol.values or protocol in {Protocol.DECISIONS, Protocol.REWARD}:
        known = _listed(set(Protocol.values) - {Protocol.DECISIONS.value, Protocol.REWARD.value})
        raise JudgeError(f"Unknown protocol {protocol!r} for a judge of kind {kind}. Known: {known}.")
    return _asked(project, kind, check_address(base_url), model.strip(), protocol, sampling, options)


def _run_here(project: Project, model: str, protocol: str, sampling: dict[str, Any], options: Options) -> _Content:
    """Return the content of a judge whose model our own workers run."""
    # Only this kind reads a model's files.
    from judges.gpu import GpuPackagesMissing
    from judges.preparing import files_hash, place_of, require_model

    kind = JudgeKind.GPU
    place_of(model)
    if protocol not in Protocol.values or protocol == Protocol.DECISIONS:
        known = _listed(set(Protocol.values) - {Protocol.DECISIONS.value})
        raise JudgeError(f"Unknown protocol {protocol!r} for a judge of kind {kind}. Known: {known}.")
    sampling = _gpu_sampling(sampling)
    if protocol == Protocol.REWARD:
        checked = check_options(options, kind=kind, protocol=protocol)
        told = {"dtype": sampling["dtype"]}
        content = _Content(kind, model=model, protocol=protocol, sampling=told, options=checked.as_json())
    else:
        if protocol in {Protocol.LETTER, Protocol.RATING}:
            _check_bare(protocol, options)
            sampling["max_tokens"] = 1
        content = _asked(project, kind, "", model, protocol, sampling, options)
    try:
        facts = require_model(model, protocol=protocol, options=options)
    except GpuPackagesMissing as error:
        raise JudgeError(f"{error} Or add the judge, by manage.py add_judge, on the machine that has them.") from error
    return content._replace(files_hash=files_hash(facts.path))


def _gpu_sampling(sampling: dict[str, Any]) -> dict[str, Any]:
    """Return what a model of our own is told. Raises `JudgeError` for what it does not take."""
    if unknown := set(sampling) - GPU_SAMPLING_NAMES:
        named = ", ".join(sorted(unknown))
        raise JudgeError(f"A judge of kind gpu has no setting {named}. Known: {_listed(GPU_SAMPLING_NAMES)}.")
    if sampling.get("temperature", 0) != 0:
        raise JudgeError(
            f"temperature is {sampling['temperature']!r}; a judge of kind gpu takes the likeliest text: 0."
        )
    dtype = sampling.get("dtype", DTYPES[0])
    if dtype not in DTYPES:
        raise JudgeError(f"dtype is {dtype!r}; it takes {DTYPES[0]} or {DTYPES[1]}.")
    return {**sampling, "dtype": dtype, "temperature": 0}


def _check_bare(protocol: str, options: Options) -> None:
    """Refuse what a judge cannot give whose answer is one token."""
    why = f"with the protocol {protocol} a judge of kind gpu gives its next token and nothing else"
    if options.criteria:
        raise JudgeError(
            f"The criteria cannot be answered: {why}. Use the protocol pairwise, or a judge for each criterion."
        )
    if options.rationale == "with":
        raise JudgeError(
            f"The rationale cannot come with the verdict: {why}. Use rationale later, or the protocol pairwise."
        )


def _unserved(project: Project, kind: str, sampling: dict[str, Any], options: Options) -> _Content:
    """Return the content of a judge that needs no server: a rule, the local model, or other judges together."""
    if kind in RULES and (sampling or options != Options()):
        raise JudgeError(f"A judge of kind {kind} follows from the texts alone: it takes no sampling and no options.")
    if kind == JudgeKind.LENGTH:
        return _Content(kind)
    if kind == JudgeKind.LEARNED:
        # Only this kind pays for the import of the fitting code.
        from judges.rules import fit_learned

        return _Content(kind, fitted=fit_learned(project))
    if kind == JudgeKind.LOCAL:
        require_local_judge()
        return _asked(
            project, kind, "", MODEL_NAME, Protocol.LETTER, {"temperature": 0, **sampling}, options._replace(tie=False)
        )
    if kind in COMBINED:
        made = combined_content(project, kind, options)
        return _Content(kind, layout=made.members_hash, options=made.options.as_json(), fitted=made.fitted)
    raise JudgeError(f"A judge of kind {kind!r} cannot be added. Kinds: {_listed(ADDED)}.")


def _asked(
    project: Project, kind: str, base_url: str, model: str, protocol: str, sampling: dict[str, Any], options: Options
) -> _Content:
    """Return the content of a judge that is asked in words."""
    if unknown := set(sampling) - SAMPLING_NAMES - ({"dtype"} if kind == JudgeKind.GPU else set()):
        raise JudgeError(f"Unknown sampling settings: {', '.join(sorted(unknown))}. Known: {_listed(SAMPLING_NAMES)}.")
    checked = check_options(options, kind=kind, protocol=protocol)
    _check_criteria(project, checked)
    limit = sampling.setdefault("max_tokens", default_max_tokens(protocol, checked))
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 100_000:
        raise JudgeError(f"max_tokens is {limit!r}; it takes a whole number from 1 to 100000.")
    if checked.samples > 1 and sampling.get("temperature") == 0:
        raise JudgeError("At temperature 0 all samples say the same. Leave the temperature out, or samples at 1.")
    return _Content(
        kind,
        base_url=base_url,
        model=model,
        protocol=str(protocol),
        prompt_template=system_message(project, protocol, checked, bare=kind == JudgeKind.GPU),
        layout=layout_hash(protocol, checked, bare=kind == JudgeKind.GPU),
        sampling=sampling,
        options=checked.as_json(),
    )


def _check_criteria(project: Project, options: Options) -> None:
    """Refuse criteria that the project does not have. The overall answer is always asked for."""
    known = set(project.criteria.values_list("name", flat=True)) - {OVERALL}
    if OVERALL in options.criteria:
        raise JudgeError(f"{OVERALL!r} is what every judge answers; name the criteria to be answered beside it.")
    if unknown := [name for name in options.criteria if name not in known]:
        there = f"It has: {_listed(known)}." if known else NO_CRITERIA
        raise JudgeError(f"{project.slug} has no criterion {', '.join(unknown)}. {there}")


def _prices(kind: str, given: Prices) -> Prices:
    if given.gpu is not None and kind != JudgeKind.GPU:
        raise JudgeError(f"A judge of kind {kind} has no price per hour of a GPU: it does not run on ours.")
    if kind == JudgeKind.GPU:
        if {given.input, given.output, given.cached} != {None}:
            raise JudgeError("A judge of kind gpu has no price per token. Its price is that of an hour of a GPU.")
        hour = settings.GPU_USD_PER_HOUR if given.gpu is None else given.gpu
        if hour is not None and not (hour.is_finite() and 0 <= hour < 100_000):
            raise JudgeError(f"A price is {hour}; it takes US dollars per hour of a GPU, from 0 to 100000.")
        return Prices(Decimal(0), Decimal(0), None, hour or None)
    if kind not in SERVED:
        return Prices(Decimal(0), Decimal(0), None)
    for price in given:
        if price is not None and not (price.is_finite() and 0 <= price < 100_000):
            raise JudgeError(f"A price is {price}; it takes US dollars per million tokens, from 0 to 100000.")
    if (given.input is None) != (given.output is None):
        raise JudgeError("Give both prices, of input and of output, or none.")
    if given.cached is not None and given.input is None:
        raise JudgeError("The price of cached input goes with the prices of input and output.")
    return given


def _version(project: Project, name: str, content: _Content, prices: Prices) -> JudgeVersion:
    """Caller holds a transaction; the judge's row is locked so that two callers cannot make the same number."""
    judge, _ = Judge.objects.get_or_create(project=project, name=name, defaults={"kind": content.kind})
    judge = Judge.objects.select_for_update().get(pk=judge.pk)
    if judge.kind != content.kind:
        raise JudgeError(f"There is a judge {name!r} of kind {judge.kind} in {project.slug}. Choose another name.")
    digest = content.digest()
    version = judge.versions.filter(content_hash=digest).first()
    if version:
        if prices != Prices():
            for name, field in PRICE_FIELDS.items():
                setattr(version, field, getattr(prices, name))
            version.save(update_fields=list(PRICE_FIELDS.values()))
        return version
    number = (judge.versions.aggregate(last=Max("number"))["last"] or 0) + 1
    rater_name = f"{name} v{number}"
    if Rater.objects.filter(project=project, kind=RaterKind.JUDGE, name=rater_name).exists():
        raise JudgeError(f"Another judge in {project.slug} answers as {rater_name!r}. Choose another name.")
    return JudgeVersion.objects.create(
        judge=judge,
        rater=Rater.objects.create(project=project, kind=RaterKind.JUDGE, name=rater_name),
        number=number,
        protocol=content.protocol or content.kind,
        model=content.model,
        base_url=content.base_url,
        prompt_template=content.prompt_template,
        sampling=dict(content.sampling),
        options=dict(content.options),
        fitted=dict(content.fitted),
        files_hash=content.files_hash,
        asks_both_orders=content.kind not in RULES | COMBINED and content.protocol not in SCORED_ALONE,
        **{field: getattr(prices, name) for name, field in PRICE_FIELDS.items()},
        content_hash=digest,
    )


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
