"""Our pages on an admin site of the project's own."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.contrib.admin import AdminSite, site
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from plugspace_queue.conf import SETTING, unchecked

HINT = gettext_noop('A dotted path of an AdminSite, as "shop.admin.site".')


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
    message = (
        _("%(setting)s['ADMIN_SITE'] cannot be imported: %(found)s")
        if isinstance(named, ImportError)
        else _("%(setting)s['ADMIN_SITE'] is %(found)r")
    )
    given = {"setting": SETTING, "found": named}
    return [Error(message % given, hint=_(HINT), id="psq.E024")]
