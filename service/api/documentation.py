"""/docs: what OpenAPI says of the routes, as a page. It must not know a route.

The page's scripts come from a CDN, by their exact version; a browser is told to take none from anywhere else, and to send nothing
anywhere but here.
"""

from litestar import Router
from litestar.datastructures import ResponseHeader
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin

SWAGGER = "5.18.2"
SCRIPTS = f"https://cdn.jsdelivr.net/npm/swagger-ui-dist@{SWAGGER}/"
POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {SCRIPTS} 'unsafe-inline'",  # the page's own few lines, in which nothing is a client's
        f"style-src {SCRIPTS} 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def documentation(version: str) -> OpenAPIConfig:
    """The page and the document, of this version of the service."""
    headers = [ResponseHeader(name=name, value=value) for name, value in HEADERS.items()]
    page = SwaggerRenderPlugin(version=SWAGGER, favicon="<link rel='icon' href='data:,'>")
    return OpenAPIConfig(
        title="Evergreen",
        version=version,
        description="Predictions over /v1 (images, series, texts) and /v2 (tensors: the Open Inference Protocol).",
        path="/docs",
        render_plugins=[page],
        openapi_router=Router(path="/docs", route_handlers=[], response_headers=headers),
        use_handler_docstrings=True,
    )
