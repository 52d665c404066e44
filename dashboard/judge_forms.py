"""What a manager types in about judges: a form a kind, so that only the fields of that kind are asked for."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from django import forms
from django.conf import settings
from django.db.models import QuerySet

from annotation.models import Project
from dashboard.forms import usd_field
from judges.exemplifying import choose_examples
from judges.gating import DEFAULT, EPSILONS, LARGEST, SWITCHES, Gate
from judges.models import COMBINED, JudgeKind, JudgeVersion
from judges.options import LARGEST_EXAMPLES, LARGEST_SAMPLES, SCALES, Options
from judges.preparing import NO_MODELS
from judges.questions import Protocol


class KindCard(NamedTuple):
    """A kind of judge as the first step offers it: what it is, what it costs, and what to know before."""

    kind: str
    title: str
    text: str
    costs: str


KINDS = (
    KindCard(
        JudgeKind.OPENAI,
        "A model behind a server",
        "OpenAI, vLLM, Ollama, llama.cpp, SGLang, LiteLLM: any server with OpenAI's chat completions. Answers arrive "
        "one by one, within seconds.",
        "the server's prices",
    ),
    KindCard(
        JudgeKind.BATCH,
        "The same model, by files",
        "Questions go to the server as files (OpenAI's batch API) or to vllm run-batch; answers come back together, "
        "within a day.",
        "half the price at OpenAI",
    ),
    KindCard(
        JudgeKind.DECISIONS,
        "A decision model",
        "Gives a probability for each option and writes no text: nothing to misread, and no reasons.",
        "the server's prices, input only",
    ),
    KindCard(
        JudgeKind.GPU,
        "A model on your GPUs",
        "Your own workers load a model from a folder and read its answer from the next token's probabilities, or score "
        "with a reward model. The operator names the models.",
        "the hours of a GPU",
    ),
    KindCard(
        JudgeKind.JURY,
        "A jury",
        "Several judges of this project as one: the mean of their probabilities, their majority, or weights learned "
        "from people's answers.",
        "its members' prices",
    ),
    KindCard(
        JudgeKind.CASCADE,
        "A cascade",
        "A cheap judge first; a strong one only where the first is unsure or contradicts itself.",
        "the first judge, and some of the second",
    ),
    KindCard(
        JudgeKind.LENGTH,
        "The length rule",
        "The longer response wins. What every judge must beat: one that does not may be reading length alone.",
        "nothing",
    ),
    KindCard(
        JudgeKind.LEARNED,
        "A baseline from your labels",
        "Fitted to people's answers in this project, from surface features. Needs some answers first.",
        "nothing",
    ),
    KindCard(
        JudgeKind.LOCAL,
        "A small local model",
        "SmolLM2 on this machine. Shows that everything around a judge works; it does not judge.",
        "nothing",
    ),
)
TITLES = {card.kind: card.title for card in KINDS}


class Server(NamedTuple):
    """A known server: an example of its address and model, how it is started, and what to know about it."""

    name: str
    title: str
    address: str
    model: str
    start: str
    hint: str
    is_own: bool


SERVERS = (
    Server(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        "gpt-5-mini",
        "",
        "The operator sets the key as OPENAI_API_KEY. Type in the prices of the model: a budget needs them.",
        False,
    ),
    Server(
        "vllm",
        "vLLM",
        "http://127.0.0.1:8000/v1",
        "Qwen/Qwen3-8B",
        "vllm serve Qwen/Qwen3-8B --port 8000",
        "Gives up to 20 log-probabilities and takes many conversations in one request.",
        True,
    ),
    Server(
        "ollama",
        "Ollama",
        "http://127.0.0.1:11434/v1",
        "qwen3:8b",
        "ollama pull qwen3:8b && ollama serve",
        "OLLAMA_NUM_PARALLEL says how many questions it answers at once.",
        True,
    ),
    Server(
        "llamacpp",
        "llama.cpp",
        "http://127.0.0.1:8080/v1",
        "default",
        "llama-server -m model.gguf --port 8080",
        "-np says how many questions it answers at once. Any model name is taken.",
        True,
    ),
    Server(
        "sglang",
        "SGLang",
        "http://127.0.0.1:30000/v1",
        "Qwen/Qwen3-8B",
        "python -m sglang.launch_server --model-path Qwen/Qwen3-8B --port 30000",
        "Also answers decision questions for chat models.",
        True,
    ),
    Server(
        "litellm",
        "LiteLLM",
        "http://127.0.0.1:4000/v1",
        "my-model",
        "litellm --config config.yaml --port 4000",
        "A proxy for other providers: the prices are those of the model behind it.",
        False,
    ),
)

PROTOCOLS = (
    (
        Protocol.PAIRWISE,
        "Reason first",
        "Writes its reasons, then first, second or tie with a confidence. Gives rationales; a few hundred tokens "
        "an answer.",
    ),
    (
        Protocol.LETTER,
        "Verdict first",
        "Answers with one letter; how sure it is, is read from the letters' log-probabilities. Cheap and graded, "
        "no reasons.",
    ),
    (
        Protocol.RATING,
        "Rating",
        "Scores each response alone; the higher score wins. No order to be biased by, more ties.",
    ),
)
GPU_PROTOCOL_NAMES = [
    (Protocol.LETTER, "Verdict first, one letter"),
    (Protocol.RATING, "Rating"),
    (Protocol.REWARD, "Reward model"),
    (Protocol.PAIRWISE, "Reason first, slow"),
]
DTYPE_NAMES = [("bfloat16", "bfloat16, fast"), ("float32", "float32, exact")]
SCORING_NAMES = [
    ("expectation", "Mean of the scores, weighted by their probability"),
    ("mode", "The likeliest score"),
    ("sharpened", "Weighted mean, sharpened (TrustJudge)"),
]
AGGREGATION_NAMES = [
    ("mean", "Mean of the probabilities of both orders"),
    ("likelihood", "Likeliest answer over both orders (TrustJudge)"),
]
RATIONALE_NAMES = [
    ("", "As this way of asking does by itself"),
    ("with", "With the verdict"),
    ("later", "Later, only for pairs that are exported or disputed"),
    ("none", "Never"),
]
RULE_NAMES = [
    ("mean", "Mean of their probabilities"),
    ("majority", "Majority"),
    ("learned", "Weights learned from people's answers"),
]
EFFORTS = [("", "Not sent"), *((name, name) for name in ("none", "minimal", "low", "medium", "high"))]


class JudgeForm(forms.Form):
    """What every kind is asked; alone, it is the form of a kind that needs nothing else."""

    name = forms.CharField(
        label="Name", max_length=100, help_text="The name of a judge that exists makes a new version of it."
    )

    def __init__(self, *args: Any, project: Project, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project, self.kind = project, kind

    def definition(self) -> dict[str, Any]:
        """Return what `judges.defining.add_judge` takes after the project. The form is valid."""
        return {"name": self.cleaned_data["name"], "kind": self.kind}

    def place(self, error: str) -> None:
        """Put an error of the verb at the field it speaks of, or above the form where it speaks of none."""
        self.add_error(self.field_of(error), error)

    def field_of(self, error: str) -> str | None:
        """Return the field an error of `add_judge` speaks of."""
        text = error.lower()
        named = (name for name in self.fields if text.startswith((f"{name} ", f"the {name} ", f"unknown {name}")))
        if found := next(named, None):
            return found
        for field, said in FIELD_WORDS:
            if field in self.fields and any(word in text for word in said):
                return field
        return None


# Words of the verb's errors that tell which field they are about, the surest first.
FIELD_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("price_input", ("price",)),
    ("base_url", ("address", "host", " key")),
    ("model", ("model", "folder", "chat template", "label", "tokenizer", "config")),
    ("aggregation", ("aggregation",)),
    ("criteria", ("criteri",)),
    ("members", ("member",)),
    ("second", ("member",)),
    ("rule", ("weights", "labels", "rule")),
    ("examples", ("example",)),
    ("name", ("name", "another judge", "there is a judge")),
)


class ServedForm(JudgeForm):
    """A judge behind a server: address, model, how it is asked, and its prices."""

    base_url = forms.CharField(label="Server address", max_length=500)
    model = forms.CharField(label="Model", max_length=200, help_text="As the server calls it.")
    protocol = forms.ChoiceField(
        label="How it is asked",
        choices=[(value, title) for value, title, _ in PROTOCOLS],
        initial=Protocol.PAIRWISE,
        widget=forms.RadioSelect,
    )
    price_input = usd_field("Input", "")
    price_output = usd_field("Output", "")
    price_cached = usd_field("Cached input", "")
    criteria = forms.MultipleChoiceField(
        label="Criteria",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Each is answered by itself, beside the answer over all.",
    )
    tie = forms.BooleanField(
        label="Offer a tie",
        required=False,
        initial=True,
        help_text="Off forces a side; pairs near one half still come out as ties.",
    )
    rationale = forms.ChoiceField(label="Reasons", choices=RATIONALE_NAMES, required=False)
    samples = forms.IntegerField(
        label="Calls an order",
        min_value=1,
        max_value=LARGEST_SAMPLES,
        initial=1,
        help_text="Averaged. More than one is the way to probabilities where a server gives none.",
    )
    scale = forms.TypedChoiceField(
        label="Best score of a rating", choices=[(scale, f"1 to {scale}") for scale in SCALES], coerce=int, initial=10
    )
    scoring = forms.ChoiceField(label="From score probabilities to a score", choices=SCORING_NAMES)
    aggregation = forms.ChoiceField(label="From both orders to an answer", choices=AGGREGATION_NAMES)
    tie_band = forms.FloatField(
        label="Tie band",
        min_value=0.0,
        max_value=0.5,
        initial=0.05,
        help_text="A probability this close to one half is a tie.",
    )
    examples = forms.IntegerField(
        label="Worked examples",
        required=False,
        min_value=1,
        max_value=LARGEST_EXAMPLES,
        help_text="So many pairs that people agree on are shown to it with their answer, and left out of what it is "
        "measured on. Empty: none.",
    )
    max_tokens = forms.IntegerField(
        label="Longest answer, tokens",
        required=False,
        min_value=1,
        max_value=100_000,
        help_text="Empty: what the way of asking needs. Models that think first need more.",
    )
    temperature = forms.FloatField(
        label="Temperature", required=False, min_value=0.0, max_value=2.0, help_text="Empty: not sent."
    )
    reasoning_effort = forms.ChoiceField(
        label="Reasoning effort",
        choices=EFFORTS,
        required=False,
        help_text="Models that think first give log-probabilities only with “none”.",
    )

    # The fields that matter to few; a page folds them away.
    FOLDED = (
        "criteria",
        "tie",
        "rationale",
        "samples",
        "scale",
        "scoring",
        "aggregation",
        "tie_band",
        "examples",
        "max_tokens",
        "temperature",
        "reasoning_effort",
    )

    def __init__(self, *args: Any, project: Project, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, project=project, kind=kind, **kwargs)
        names = [one.name for one in project.criteria.all() if one.name != "overall"]
        criteria = self.fields["criteria"]
        assert isinstance(criteria, forms.MultipleChoiceField)  # noqa: S101  (declared above)
        criteria.choices = [(name, name) for name in names]
        if not names:
            del self.fields["criteria"]
        if kind == JudgeKind.DECISIONS:
            for name in ("protocol", "rationale", "scale", "scoring", "samples", "max_tokens", "temperature"):
                del self.fields[name]
            del self.fields["reasoning_effort"]

    def ways(self) -> list[tuple[Any, str]]:
        """Return the radio buttons of the protocol, each with what it means."""
        return list(zip(self["protocol"], (text for _, _, text in PROTOCOLS), strict=True))

    def folded(self) -> list[forms.BoundField]:
        """Return the fields that are folded away."""
        return [self[name] for name in self.FOLDED if name in self.fields]

    def is_open(self) -> bool:
        """Say whether the folded fields are shown at once: one of them was changed or is wrong."""
        return any(field.errors for field in self.folded()) or (
            self.is_bound and any(name in self.FOLDED for name in self.changed_data)
        )

    def clean(self) -> dict[str, Any]:
        """Ask for both prices or none."""
        values = super().clean() or self.cleaned_data
        if (values.get("price_input") is None) != (values.get("price_output") is None):
            missing = "price_input" if values.get("price_input") is None else "price_output"
            self.add_error(missing, "Give both prices, of input and of output, or neither.")
        elif values.get("price_cached") is not None and values.get("price_input") is None:
            self.add_error("price_input", "The price of cached input goes with the prices of input and output.")
        return values

    def definition(self) -> dict[str, Any]:
        """Return what `add_judge` takes, with sampling and options. Raises `JudgeError` for examples there are not."""
        values = self.cleaned_data
        sampling = {
            name: values[name]
            for name in ("max_tokens", "temperature", "reasoning_effort")
            if values.get(name) not in {None, ""}
        }
        chosen = {name: values[name] for name in Options._fields if name in values and name != "examples"}
        if "criteria" in chosen:
            chosen["criteria"] = tuple(chosen["criteria"])
        if values.get("examples"):
            chosen["examples"] = choose_examples(
                self.project, values["examples"], seed=self.project.seed, tie=values["tie"]
            )
        return {
            **super().definition(),
            "base_url": values["base_url"],
            "model": values["model"],
            "protocol": values.get("protocol", Protocol.DECISIONS.value),
            "sampling": sampling,
            "options": Options(**chosen),
            "price_input_usd_per_million": values["price_input"],
            "price_output_usd_per_million": values["price_output"],
            "price_cached_usd_per_million": values["price_cached"],
        }


class GpuForm(JudgeForm):
    """A model that our own workers run: one of those the operator named, and how it is read."""

    model = forms.ChoiceField(label="Model")
    protocol = forms.ChoiceField(
        label="How it is asked",
        choices=GPU_PROTOCOL_NAMES,
        initial=Protocol.LETTER,
        help_text="A letter and a rating are read from the next token's probabilities, nothing is written. A reward "
        "model scores each response alone. Reasons are written word by word: many times slower.",
    )
    tie = forms.BooleanField(
        label="Offer a tie",
        required=False,
        initial=True,
        help_text="A letter of its own; ratings and scores have none.",
    )
    scale = forms.TypedChoiceField(
        label="Best score of a rating",
        choices=[(scale, f"1 to {scale}") for scale in SCALES],
        coerce=int,
        initial=SCALES[0],
        help_text="Each score has to be one token of the model: 1 to 5 are in nearly all.",
    )
    rationale = forms.ChoiceField(
        label="Reasons",
        choices=[one for one in RATIONALE_NAMES if one[0] != "with"],
        required=False,
        help_text="Verdicts come without; reasons can be written later, for the pairs that need them.",
    )
    dtype = forms.ChoiceField(label="Arithmetic", choices=DTYPE_NAMES)
    price_gpu = usd_field("An hour of the GPU", "US dollars. Empty: what the operator set, or free.")

    def __init__(self, *args: Any, project: Project, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, project=project, kind=kind, **kwargs)
        model = self.fields["model"]
        assert isinstance(model, forms.ChoiceField)  # noqa: S101  (declared above)
        model.choices = [(name, name) for name in sorted(settings.GPU_MODELS)]
        model.help_text = "As the operator named it in TIEBREAK_GPU_MODELS." if settings.GPU_MODELS else NO_MODELS

    def definition(self) -> dict[str, Any]:
        """Return what `add_judge` takes: of the options those that its protocol has."""
        values = self.cleaned_data
        protocol, chosen = values["protocol"], Options()
        if protocol in {Protocol.LETTER, Protocol.PAIRWISE}:
            chosen = chosen._replace(tie=values["tie"])
        if protocol == Protocol.RATING:
            chosen = chosen._replace(scale=values["scale"])
        if protocol in {Protocol.LETTER, Protocol.RATING}:
            chosen = chosen._replace(rationale=values["rationale"])
        return {
            **super().definition(),
            "model": values["model"],
            "protocol": protocol,
            "sampling": {"dtype": values["dtype"]},
            "options": chosen,
            "price_gpu_usd_per_hour": values["price_gpu"],
        }


class JuryForm(JudgeForm):
    """Several judges as one."""

    members = forms.MultipleChoiceField(
        label="Members",
        widget=forms.CheckboxSelectMultiple,
        help_text="At least two. Small models of different families err less together than one large one.",
    )
    rule = forms.ChoiceField(label="How they decide", choices=RULE_NAMES, initial="mean")

    def __init__(self, *args: Any, project: Project, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, project=project, kind=kind, **kwargs)
        _offer(self.fields["members"], _members(project))

    def definition(self) -> dict[str, Any]:
        """Return what `add_judge` takes, with members and rule."""
        values = self.cleaned_data
        options = Options(members=tuple(values["members"]), rule=values["rule"])
        return {**super().definition(), "options": options}


class CascadeForm(JudgeForm):
    """A cheap judge first, a strong one where it is unsure."""

    first = forms.ChoiceField(label="First, the cheap one", help_text="Answers every pair.")
    second = forms.ChoiceField(label="Then, the strong one", help_text="Answers what the first is unsure of.")
    unsure_below = forms.FloatField(
        label="Unsure below",
        min_value=0.5,
        max_value=1.0,
        initial=0.8,
        help_text="The first is unsure where its likelier answer has less than this probability, or its two orders "
        "contradict each other.",
    )

    def __init__(self, *args: Any, project: Project, kind: str, **kwargs: Any) -> None:
        super().__init__(*args, project=project, kind=kind, **kwargs)
        for name in ("first", "second"):
            _offer(self.fields[name], _members(project), empty="Choose a judge")

    def clean(self) -> dict[str, Any]:
        """Ask for two different judges."""
        values = super().clean() or self.cleaned_data
        if values.get("first") and values.get("first") == values.get("second"):
            self.add_error("second", "Choose another judge than the first.")
        return values

    def definition(self) -> dict[str, Any]:
        """Return what `add_judge` takes, with both members in order."""
        values = self.cleaned_data
        options = Options(members=(values["first"], values["second"]), unsure_below=values["unsure_below"])
        return {**super().definition(), "options": options}


class RunForm(forms.Form):
    """How much a judge run may do."""

    limit = forms.IntegerField(
        label="Pairs at most",
        required=False,
        min_value=1,
        max_value=100_000_000,
        help_text="Empty: every pair it has not labelled.",
    )
    budget_usd = usd_field("Budget", "US dollars; the run pauses before it passes it.", places=6)
    fresh = forms.BooleanField(
        label="Ask anew",
        required=False,
        help_text="Also where the same request was answered before; kept answers cost nothing.",
    )


class CapForm(forms.Form):
    """A new cap of a run that goes on."""

    budget_usd = usd_field("New cap", "US dollars in all, with what is spent.", places=6, required=True)


class LimitsForm(forms.Form):
    """How fast a server may be asked."""

    max_concurrency = forms.IntegerField(label="Questions at once, at most", min_value=1, max_value=10_000)
    requests_per_minute = forms.IntegerField(
        label="Questions a minute", required=False, min_value=1, max_value=10_000_000
    )
    tokens_per_minute = forms.IntegerField(
        label="Tokens a minute", required=False, min_value=1, max_value=2_000_000_000
    )


# Thresholds as a page asks for them: a heading, what it means, and whether it is a share in percent.
THRESHOLDS: dict[str, tuple[str, str]] = {
    "failed_max": ("Failed questions, at most %", "Calls that brought no answer."),
    "position_max": (
        "Distance from 50 % first shown, at most %",
        "Fails only where the whole interval lies beyond: on evidence, not on doubt.",
    ),
    "flips_max": ("Flips, at most %", "Pairs decided otherwise in the other order; the whole interval must lie above."),
    "cycles_max": ("Circles, at most %", "Triples such as a over b, b over c, c over a."),
    "accuracy_min": ("Agreement with people, at least %", "The whole interval must lie above; 50 % is a coin."),
    "calibration_error_max": ("Calibration error, at most %", "How far stated confidence is from the share right."),
    "labels_min": ("Labelled pairs for a test", "With fewer, agreement with people is not tested."),
    "labels_needed": ("Without that many labelled pairs it fails", "Off: it is a note, and it passes on the rest."),
    "alt_test_needed": (
        "It must pass the alternative-annotator test",
        "Whether it may stand in for a person: held against each person, beside the others.",
    ),
    "alt_test_epsilon": (
        "How much worse than a person it may be",
        "A judge is cheaper: 10 points against a crowd, 15 against skilled people, 20 against experts.",
    ),
    "flags_dismiss": ("A bias that was found fails it", "Off: it is a note."),
}
NUMBERS = tuple(name for name in Gate._fields if name not in {*SWITCHES, "alt_test_epsilon"})


class GateForm(forms.Form):
    """The thresholds a judge must meet to label alone. Shares are typed in percent; empty: no limit."""

    def __init__(self, *args: Any, gate: Gate, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in Gate._fields:
            label, text = THRESHOLDS[name]
            self.fields[name] = _threshold(name, label, text, getattr(gate, name))

    def thresholds(self) -> dict[str, Any]:
        """Return what `judges.gating.set_gate` takes. The form is valid."""
        values = dict(self.cleaned_data)
        for name in NUMBERS:
            if name != "labels_min" and values[name] is not None:
                values[name] = round(values[name] / 100, 6)
        return values

    def place(self, error: str) -> None:
        """Put an error of the verb at the threshold it names."""
        self.add_error(next((name for name in self.fields if error.startswith(name)), None), error)


def _threshold(name: str, label: str, text: str, value: Any) -> forms.Field:
    if name in SWITCHES:
        return forms.BooleanField(label=label, help_text=text, initial=value, required=False)
    if name == "alt_test_epsilon":
        choices = [(epsilon, f"{epsilon:.0%}") for epsilon in EPSILONS]
        return forms.TypedChoiceField(label=label, help_text=text, initial=value, choices=choices, coerce=float)
    if name == "labels_min":
        return forms.IntegerField(label=label, help_text=text, initial=value, min_value=10, max_value=1_000_000)
    shown = None if value is None else round(100 * value, 4)
    default = getattr(DEFAULT, name)
    usual = "no limit" if default is None else f"{100 * default:g}"
    return forms.FloatField(
        label=label,
        help_text=f"{text} Usual: {usual}.",
        initial=shown if shown is None or shown % 1 else int(shown),
        required=False,
        min_value=0.0,
        max_value=100 * LARGEST.get(name, 1.0),
    )


def form_of(project: Project, kind: str, data: Any = None, *, server: Server | None = None) -> JudgeForm:
    """Return the form of a kind, filled with the examples of a known server where one is given."""
    if kind == JudgeKind.JURY:
        return JuryForm(data, project=project, kind=kind)
    if kind == JudgeKind.CASCADE:
        return CascadeForm(data, project=project, kind=kind)
    if kind == JudgeKind.GPU:
        return GpuForm(data, project=project, kind=kind)
    if kind not in {JudgeKind.OPENAI, JudgeKind.BATCH, JudgeKind.DECISIONS}:
        return JudgeForm(data, project=project, kind=kind)
    initial: dict[str, Any] = {}
    if server is not None:
        initial = {"base_url": server.address, "model": server.model}
        if server.is_own:
            initial |= {"price_input": Decimal(0), "price_output": Decimal(0)}
    return ServedForm(data, project=project, kind=kind, initial=initial)


def _members(project: Project) -> "QuerySet[JudgeVersion]":
    versions = JudgeVersion.objects.filter(judge__project=project).exclude(judge__kind__in=COMBINED)
    return versions.select_related("judge").order_by("judge__name", "-number")


def _offer(field: forms.Field, versions: Iterable[JudgeVersion], *, empty: str = "") -> None:
    assert isinstance(field, forms.ChoiceField)  # noqa: S101  (both fields of members are)
    named = [(str(version.pk), f"{version}" + (f" · {version.model}" if version.model else "")) for version in versions]
    field.choices = [("", empty), *named] if empty else named
