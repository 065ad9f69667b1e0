"""The API that the shop has of its own."""

from rest_framework.response import Response
from rest_framework.views import APIView


class Orders(APIView):
    def get(self, request):
        return Response(f"orders of {request.user.email}, version {request.version}")
