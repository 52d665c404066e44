"""What the detector found in responses: text that speaks to the judge instead of answering."""

from django.db import models

from annotation.models import Project, Response


class ResponseFlag(models.Model):
    """A reason not to take a judge's word on any pair with this response (`judges.flagging`)."""

    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="flags")
    kind = models.CharField(max_length=40)
    quote = models.CharField(max_length=300, blank=True, help_text="The place in the response that raised it.")
    detector = models.CharField(max_length=16, help_text="The detector's version.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["response", "kind"], name="one_flag_per_response_and_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} in {self.response_id}"


class ResponseScan(models.Model):
    """How far a version of the detector has read a project's responses: all of them up to one id, in order of ids."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="response_scan")
    detector = models.CharField(max_length=16, help_text="The detector's version.")
    upto = models.UUIDField(help_text="The last response that was read.")
    scanned_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"scan of {self.project_id} with {self.detector}"
