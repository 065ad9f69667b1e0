"""A project with an API of its own beside ours, and a document of it."""

from django.urls import include, path
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class Task(serializers.Serializer[object]):
    """A task of the project's, which is none of ours."""

    status = serializers.ChoiceField(["open", "done"])


class HostTasks(APIView):
    authentication_classes = [SessionAuthentication]

    @extend_schema(operation_id="hostTasks", responses=Task)
    def get(self, request: Request) -> Response:
        return Response({"status": "open"})


urlpatterns = [
    path("api/tasks/", HostTasks.as_view()),
    path("queue/", include("plugspace_queue.urls")),
    path("schema/", SpectacularAPIView.as_view()),
]
