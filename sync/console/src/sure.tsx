// A deed that is asked once more before it is done.
import { useState } from "preact/hooks";
import { t } from "./words";

export function Sure({ word, question, act, bad = false, disabled = false }: { word: string; question: string; act: () => void; bad?: boolean; disabled?: boolean }) {
  const [open, setOpen] = useState(false);
  if (!open) return <button class={bad ? "bad" : ""} disabled={disabled} onClick={() => setOpen(true)}>{word} …</button>;
  return (
    <span class="sure" role="group" aria-label={question} onKeyDown={(e) => { if (e.key === "Escape") setOpen(false); }}>
      <span>{question}</span>
      <button class={bad ? "bad" : ""} onClick={() => { setOpen(false); act(); }}>{word}</button>
      <button ref={(button) => button?.focus()} onClick={() => setOpen(false)}>{t("cancel")}</button>
    </span>
  );
}
