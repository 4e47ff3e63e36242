"""Settings of django-allauth from the environment's values. Knows nothing of Django settings, like `environment`."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

#: Where people may sign in from elsewhere: variable, provider of django-allauth, settings of its app.
ELSEWHERE: dict[str, tuple[str, dict[str, Any]]] = {
    "FAIRGROUND_GITHUB_CLIENT": ("github", {}),
    "FAIRGROUND_ORCID_CLIENT": ("orcid", {}),
    "FAIRGROUND_HUGGINGFACE_CLIENT": (
        "openid_connect",
        {
            "provider_id": "huggingface",
            "name": "Hugging Face",
            "settings": {"server_url": "https://huggingface.co/.well-known/openid-configuration"},
        },
    ),
}


def social_providers(clients: dict[str, str]) -> dict[str, Any]:
    """Return SOCIALACCOUNT_PROVIDERS for the variables that are set to `client id:secret`.

    Raises `ImproperlyConfigured` for a value without a colon.
    """
    providers: dict[str, Any] = {}
    for variable, (provider, app) in ELSEWHERE.items():
        value = clients.get(variable, "")
        if not value:
            continue
        client_id, _, secret = value.partition(":")
        if not client_id or not secret:
            raise ImproperlyConfigured(f"{variable} must be the client's id and its secret with a colon between.")
        providers[provider] = {"APPS": [{"client_id": client_id, "secret": secret, **app}]}
    return providers
