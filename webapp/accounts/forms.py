"""The form with which a person makes a token."""

from __future__ import annotations

from django import forms

from webapp.accounts.models import Scope

LIFETIMES = [(7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "a year")]


class TokenForm(forms.Form):
    """Name, scopes and life of a new token."""

    name = forms.CharField(max_length=100, help_text="What uses it, for example “notebook”.")
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, widget=forms.CheckboxSelectMultiple, label="It may", initial=[Scope.READ]
    )
    days = forms.TypedChoiceField(choices=LIFETIMES, coerce=int, initial=30, label="It ends after")
