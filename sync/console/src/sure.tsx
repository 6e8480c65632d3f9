// A deed that is asked once more before it is done.
import { useState } from "preact/hooks";
import { useFocus } from "./show";
import { t } from "./words";

export function Sure({ word, question, act, bad = false, disabled = false }: { word: string; question: string; act: () => void; bad?: boolean; disabled?: boolean }) {
  const [open, setOpen] = useState(false);
  if (!open) return <button class={bad ? "bad" : ""} disabled={disabled} onClick={() => setOpen(true)}>{word} …</button>;
  return <Asks word={word} question={question} bad={bad} yes={() => { setOpen(false); act(); }} no={() => setOpen(false)} />;
}

function Asks({ word, question, bad, yes, no }: { word: string; question: string; bad: boolean; yes: () => void; no: () => void }) {
  const cancel = useFocus<HTMLButtonElement>();
  return (
    <span class="sure" role="group" aria-label={question} onKeyDown={(e) => { if (e.key === "Escape") no(); }}>
      <span>{question}</span>
      <button class={bad ? "bad" : ""} onClick={yes}>{word}</button>
      <button ref={cancel} onClick={no}>{t("cancel")}</button>
    </span>
  );
}
