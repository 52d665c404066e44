"""Every address of the site."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path

handler400 = "annotation.views.failing.bad_request"
handler404 = "annotation.views.failing.not_found"

urlpatterns = [
    path("sign-out/", LogoutView.as_view(), name="sign_out"),
    path("", include("annotation.urls")),
    path("", include("dashboard.urls")),
]
