"""What a manager types in to publish an export, and once more to make it public."""

from django import forms


class PublishForm(forms.Form):
    """Where an export goes."""

    target = forms.CharField(
        label="Repository",
        max_length=200,
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocapitalize": "off", "placeholder": "my-lab/my-data"}),
        help_text="NAMESPACE/NAME of a dataset on the Hub. It is made, private, where there is none.",
    )
    tag = forms.CharField(
        label="Tag", max_length=100, help_text="By which this state can be loaded for ever, as in v1.2."
    )
    onto = forms.CharField(
        label="Write over",
        max_length=40,
        required=False,
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocapitalize": "off"}),
        help_text="Only where a publication was refused: the commit that it named, after you looked at it.",
    )


class PublicForm(forms.Form):
    """The second word before everybody may read a dataset."""

    name = forms.CharField(
        label="Type the repository's name",
        max_length=200,
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocapitalize": "off", "autocomplete": "off"}),
        help_text="As it is shown above, to say that you mean this one.",
    )
