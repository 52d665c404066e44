"""What the screen's scripts say, and what its acts are called: every word of it can be translated.

`{name}` in a text is filled in by the script.
"""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

WORDS: dict[str, Promise] = {
    # Moving on
    "next": _("Next one."),
    "saved": _("Saved. {done} of {total} done."),
    "passed_on": _("Passed on."),
    "progress": _("{done} of {total}"),
    "fetching": _("Fetching the next one …"),
    "fetching_offline": _("The next one comes when the connection is back."),
    "look_again": _("Look again"),
    # What is missing before an answer can go
    "nothing_chosen": _("Nothing is chosen yet. Choose with {keys}, then submit."),
    "row_missing": _("“{row}” has no answer yet."),
    "reason_missing": _("This project asks for a reason. Say in a sentence why you chose so, then submit."),
    "chip_missing": _("This project asks for a reason. Mark at least one, then submit."),
    "same_pick": _("{response} cannot be both the best and the worst."),
    "rank_taken": _("{rank} was the rank of {response}. {response} has none now."),
    # Sending
    "offline": _("Offline. Answers kept on this device: {count}."),
    "retrying": _("Not sent yet, kept on this device: {count}. Trying again in {seconds} s."),
    "back_online": _("Sent everything that was kept on this device."),
    "signed_out": _("You were signed out. Your answers are kept on this device."),
    "sign_in": _("Sign in again"),
    "not_taken": _("The server did not take an answer. It comes back next: {message}"),
    "dropped": _("One answer was not stored: {message}"),
    "not_yours": _("It is not held for you any more."),
    "refused": _("The server refused to take the answers. They are kept on this device."),
    "reload": _("Reload the page"),
    "storage_full": _("This browser keeps nothing on the device. Stay on the page until everything is sent."),
    # Taking back
    "undone": _("Taken back. Change it and submit again."),
    "changing": _("You are changing an answer that was already given."),
    "nothing_to_undo": _("There is no answer to take back."),
    "skip_is_final": _("What was passed on does not come back."),
    "cannot_show": _("The server cannot be reached, so an earlier answer cannot be opened now."),
    "answered_elsewhere": _("It was answered in another tab."),
    "keep_answer": _("Keep it as it was"),
    # The lease
    "held": _("held for you"),
    "lapsed": _("time ran out"),
    "lapsed_line": _("Your time for this one ran out, so others may get it. You can still submit your answer."),
    # Reading
    "fold": pgettext_lazy("make a panel smaller", "Fold"),
    "open": pgettext_lazy("make a panel larger", "Open"),
    "copy": _("Copy"),
    "copy_code": _("Copy the code"),
    "copied": _("Copied"),
    "selected": _("Selected: press Ctrl C"),
    "show_all": _("Show all"),
    "show_less": _("Show less"),
    "length": _("{words} words, {characters} characters"),
    "diff_failed": _("The differences could not be fetched."),
    "image_load": _("Load"),
    "image_load_from": _("Load the picture from {host}, which will see your network address"),
    # Quotes
    "quote": _("Quote"),
    "quote_remove": _("Remove the quote from {response}: {text}"),
    "quote_nothing": _("Select some words of a response first."),
    "quoted": _("Quoted from {response}."),
    "quote_gone": _("Quote removed."),
    # Ranking
    "unranked": _("Not ranked yet"),
    "drag": _("Drag {response}"),
    "move_up": _("Move {response} up"),
    "move_down": _("Move {response} down"),
    "tie_above": _("{response} ties with the one above"),
    "ranked": _("{response} has rank {rank}."),
    # What a response got, beside its letter
    "mark_chosen": _("your choice"),
    "mark_tie": _("tie"),
    "mark_best": _("best"),
    "mark_worst": _("worst"),
    "mark_rank": _("rank {rank}"),
    # Rows
    "row_of": _("{number} of {count}"),
    # Settings
    "settings_saved": _("Settings kept."),
    "settings_unsaved": _("The settings hold on this page, but could not be kept."),
    "key_taken": _("“{key}” is already the key for: {act}"),
}

ACTS: dict[str, Promise] = {
    "both_bad": _("Both are bad"),
    "unsure": _("You can't judge it"),
    "rationale": _("Write why"),
    "cite": _("Quote the selected words"),
    "undo": _("Take back the last answer"),
    "recent": _("Your last ten answers"),
    "skip": _("Skip, with a reason"),
    "break": _("Take a break"),
    "link": _("Scroll responses together, or apart"),
    "prompt": _("Fold or open the prompt"),
    "raw": _("Raw text, or formatted"),
    "diff": _("Mark the words that differ"),
    "lengths": _("Show how long each is"),
    "guidelines": _("Guidelines"),
    "settings": _("Settings"),
    "help": _("Keys and help"),
}

STEP_NAME = _("Option %(number)d of the marked row")

ROLES: dict[str, Promise] = {
    "system": _("System message"),
    "developer": _("Instructions to the model"),
    "user": _("User"),
    "assistant": _("Assistant"),
    "tool": _("Tool"),
    "function": _("Tool"),
}


def script_words() -> dict[str, str]:
    """Return what scripts say, in the language of the moment; templates call it where they need it."""
    return {name: str(word) for name, word in WORDS.items()}
