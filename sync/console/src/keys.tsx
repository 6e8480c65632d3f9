// Keys of programs: made, shown this once, taken back.
import { useState } from "preact/hooks";
import { failed, get, send } from "./api";
import { placeName, RoleAt } from "./people";
import { sentence } from "./sentences";
import { moment, useFocus, useFresh } from "./show";
import { placesOf } from "./signin";
import { Sure } from "./sure";
import { role as roleWord, t } from "./words";

interface Key { name: string; role: string; place: string; created: number; expires: number }
const DAYS = [1, 7, 30, 90, 365];

export function Keys({ at }: { at: string }) {
  const [keys, again] = useFresh<Key[]>(() => get("/api/keys"), () => false, []);
  const [making, setMaking] = useState(false), [made, setMade] = useState(""), [fault, setFault] = useState(""), [copied, setCopied] = useState(false);
  const shown = (keys ?? []).filter((key) => !at || key.place === at || key.place.startsWith(`${at}/`));
  const wrong = (e: Error) => { setFault(e.message); failed(e); };
  const add = (key: object) => {
    setFault("");
    send<{ key: string }>("POST", "/api/keys", key).then((said) => { setMade(said.key); setCopied(false); setMaking(false); again(); }, wrong);
  };
  const remove = (key: Key) => { setFault(""); send("DELETE", `/api/keys/${encodeURIComponent(key.name)}`).then(again, wrong); };
  return (
    <section class="panel" aria-label={t("keysOf")}>
      <header class="bar"><h2>{t("keysOf")} <span class="now">{at}</span></h2>{making ? null : <button onClick={() => { setMaking(true); setMade(""); }}>{t("newKey")}</button>}</header>
      {fault ? <p class="bad" role="alert">{sentence(fault)}</p> : null}
      {made ? (
        <div class="made" role="status"><p>{t("keyOnce")}</p><p><code>{made}</code></p>
          <p class="choices">{navigator.clipboard ? <button onClick={() => navigator.clipboard.writeText(made).then(() => setCopied(true), () => {})}>{t(copied ? "copied" : "copy")}</button> : null}<button onClick={() => setMade("")}>{t("keptIt")}</button></p></div>
      ) : null}
      {making ? <New at={at} add={add} close={() => setMaking(false)} /> : null}
      {shown.length ? (
        <ul class="keys">{shown.map((key) => {
          const over = key.expires * 1000 < Date.now();
          return (
            <li key={key.name} data-key={key.name}><strong>{key.name}</strong><span>{roleWord(key.role)} <span class="quiet">{placeName(key.place)}</span></span>
              <span class={over ? "silent" : "quiet"}>{t(over ? "keyOver" : "until")} {moment(key.expires * 1000)}</span><span class="grow" /><Sure word={t("revoke")} question={`${t("sureRevoke")} ${key.name}?`} act={() => remove(key)} bad /></li>
          );
        })}</ul>
      ) : keys ? <p class="quiet">{t("noKeys")}</p> : null}
    </section>
  );
}

function New({ at, add, close }: { at: string; add: (key: object) => void; close: () => void }) {
  const [role, setRole] = useState("viewer"), [place, setPlace] = useState(at || (placesOf("people").includes("") ? "" : placesOf("people")[0] ?? ""));
  const name = useFocus<HTMLInputElement>();
  const send = (e: Event) => {
    e.preventDefault();
    const said = Object.fromEntries(new FormData(e.currentTarget as HTMLFormElement));
    add({ name: said.name, days: Number(said.days), role, at: place.trim() });
  };
  return (
    <form class="making" onSubmit={send} aria-label={t("newKey")} onKeyDown={(e) => { if (e.key === "Escape") close(); }}>
      <label>{t("keyName")} <input name="name" required maxLength={64} autocomplete="off" placeholder="grafana" ref={name} /></label>
      <RoleAt role={role} at={place} set={setRole} where={setPlace} />
      <label>{t("goodFor")} <select name="days">{DAYS.map((days) => <option key={days} value={days} selected={days === 90}>{days} {t("days")}</option>)}</select></label>
      <div class="choices"><button class="primary">{t("makeKey")}</button><button type="button" onClick={close}>{t("cancel")}</button></div>
    </form>
  );
}
