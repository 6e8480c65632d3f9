// A form on top of a page. It closes by Escape and by its button, and keeps what was written while the plane refuses it.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { failed } from "./api";
import { sentence } from "./sentences";
import { t } from "./words";

export function Dialog({ title, word, close, act, children }: { title: string; word: string; close: () => void; act: (said: FormData) => Promise<unknown>; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [fault, setFault] = useState(""), [busy, setBusy] = useState(false);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    dialog.current?.showModal();
    return () => before?.focus();
  }, []);
  useEffect(() => { if (fault) dialog.current?.querySelector(".refusal")?.scrollIntoView({ block: "nearest" }); }, [fault]);
  const send = (e: SubmitEvent) => {
    e.preventDefault();
    setBusy(true);
    setFault("");
    act(new FormData(e.currentTarget as HTMLFormElement)).then(close, (error) => { setBusy(false); setFault(error.message); failed(error); });
  };
  return (
    <dialog ref={dialog} class="asks" aria-label={title} onClose={close}>
      <form onSubmit={send}>
        <h2>{title}</h2>
        <div class="making">{children}</div>
        {fault ? <p class="bad refusal" role="alert">{fault.split("\n").map(sentence).join("\n")}</p> : null}
        <div class="choices"><button class="primary" disabled={busy}>{word}</button><button type="button" onClick={() => dialog.current?.close()}>{t("cancel")}</button></div>
      </form>
    </dialog>
  );
}

/** A time that somebody said in their own time zone, in s UTC; undefined where they said none. */
export const secondsOf = (said: FormDataEntryValue | null): number | undefined => (said ? new Date(String(said)).getTime() / 1000 : undefined);
/** The same the other way, for an input of the kind `datetime-local`. */
export function localTime(seconds: number): string {
  if (!seconds) return "";
  const when = new Date(seconds * 1000);
  return new Date(when.getTime() - when.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
