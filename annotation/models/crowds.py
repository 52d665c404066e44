"""What is known of a project's people taken together."""

from django.db import models

from annotation.models.projects import Method, Project


class CrowdFit(models.Model):
    """What the project's method of aggregation has learned of its people, from all answers there were.

    Kept so that one more answer is weighed without reading all the others; learned again as answers grow.
    """

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="crowd_fit")
    method = models.CharField(max_length=20, choices=Method)
    parameters = models.JSONField(default=dict, help_text="What `annotation.aggregating.deciding.Learned` holds.")
    votes = models.PositiveIntegerField(help_text="Answers it was learned from.")
    fitted_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(method__in=Method.values), name="crowd_fit_method_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.project}: {self.method} from {self.votes} answers"
