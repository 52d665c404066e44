// Buttons that copy the value of a field: data-copies names it, data-copied is what the button then says.
for (const button of document.querySelectorAll("[data-copies]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const field = document.getElementById(button.dataset.copies);
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      return; // It is selected: the keys for copying do the rest.
    }
    button.textContent = button.dataset.copied;
  });
}
