"""All addresses of the site: pages at the root, REST under /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView, TemplateView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from webapp import problem_page
from webapp.problems import not_found

api_v1: list[URLPattern | URLResolver] = [
    path("", include("tracer.api_urls")),
    path("", include("webapp.playground.api_urls")),
    path("", include("arena.api_urls")),
    path("", include("webapp.owners.api_urls")),
    path("", include("webapp.transparency.api_urls")),
    path("schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    re_path(r"^[\s\S]*$", not_found),
]

urlpatterns = [
    # Clients ask more often than people, and these prefixes are passed over at once.
    path("api/v1/", include(api_v1)),
    path("v1/", include("webapp.playground.openai.urls")),
    path("compat/", include("tracer.compat_urls")),
    path("", RedirectView.as_view(pattern_name="playground:home"), name="home"),
    path("about/", TemplateView.as_view(template_name="webapp/about.html"), name="about"),
    path("docs/problems", problem_page.problems, name="problems"),
    path("", include("webapp.operations.urls")),
    path("", include("webapp.accounts.urls")),
    path("account/", include("allauth.urls")),
    path("", include("tracer.urls")),
    path("", include("webapp.playground.urls")),
    path("", include("arena.urls")),
    path("", include("webapp.owners.urls")),
    path("", include("webapp.transparency.urls")),
]

handler404 = "webapp.problems.page_not_found"
handler500 = "webapp.problems.server_error"
