"""Values that a button fills into the question's form: sampling, system prompts, examples.

`Copying: No` and `Copying: Yes` are the system prompts by which ParaPO's variants are told whether
they may repeat their training data (Chen et al., arXiv 2504.14452). The paper finds that a model
that was not trained so heeds them little; a trace shows whether this one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A button's name and the fields that it fills."""

    slug: str
    title: str
    values: Mapping[str, str]


SAMPLING = (
    Preset("likeliest", "Always the likeliest", {"temperature": "0", "top_p": "1"}),
    Preset("balanced", "Balanced", {"temperature": "0.7", "top_p": "0.95"}),
    Preset("varied", "Varied", {"temperature": "1", "top_p": "1"}),
)
SYSTEM_PROMPTS = (
    Preset("no-system-prompt", "None", {"system_prompt": ""}),
    Preset("copying-no", "Copying: No", {"system_prompt": "Copying: No"}),
    Preset("copying-yes", "Copying: Yes", {"system_prompt": "Copying: Yes"}),
    Preset(
        "own-words",
        "Own words",
        {"system_prompt": "Answer in your own words. Quote only where the question asks for it."},
    ),
)
EXAMPLES = (
    ("numerics", "def numpy.linalg.solve(a, b)\n\n"),
    ("web", "class django.views.generic.list.ListView\n\n"),
    ("learning", "class torch.nn.modules.linear.Linear\n\n"),
    ("symbolic", "def sympy.simplify.simplify(expr)\n\n"),
)
PRESETS = {preset.slug: preset for preset in (*SAMPLING, *SYSTEM_PROMPTS)}
