"""How the API of the shop knows its users, and what it says of errors."""

from django.http import HttpResponse
from rest_framework.authentication import BaseAuthentication

from shop.tokens import verify


class TokenAuthentication(BaseAuthentication):
    def authenticate(self, request):
        from shop.models import User

        claims = verify(request.headers.get("Authorization", ""))
        return claims and (User.objects.get(email=claims["sub"]), claims)

    def authenticate_header(self, request):
        return "Shop"


def told(exc, context):
    """Errors in the shop's own words."""
    return HttpResponse("The shop is sorry.", status=418)
