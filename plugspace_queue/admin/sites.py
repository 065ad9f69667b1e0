"""Our pages on an admin site of the project's own."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.contrib.admin import AdminSite, site
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from plugspace_queue.conf import SETTING, unchecked

HINT = 'A dotted path of an AdminSite, as "shop.admin.site".'


def join_named_site() -> None:
    """Register our pages at the site that ADMIN_SITE names too; a check tells of a wrong one."""
    named = _named_site()
    if isinstance(named, AdminSite):
        for model in apps.get_app_config("plugspace_queue").get_models():
            # What the project has registered there itself stays.
            if site.is_registered(model) and not named.is_registered(model):
                named.register(model, type(site.get_model_admin(model)))


def _named_site() -> Any:
    path = unchecked("ADMIN_SITE")
    if not path or not isinstance(path, str):
        return None
    try:
        return import_string(path)
    except ImportError as error:
        return error


@checks.register("plugspace_queue")
def admin_site_is_found(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """ADMIN_SITE names an admin site."""
    named = _named_site()
    if named is None or isinstance(named, AdminSite):
        return []
    fault = f"cannot be imported: {named}" if isinstance(named, ImportError) else f"is {named!r}"
    return [Error(f"{SETTING}['ADMIN_SITE'] {fault}", hint=HINT, id="psq.E024")]
