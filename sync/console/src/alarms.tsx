// What stands, and what happened.
import { useState } from "preact/hooks";
import { type Alarm, get, type Happening, order } from "./api";
import { moment, severityOrder, useFresh } from "./show";
import { known, t } from "./words";

export function Alarms({ failed }: { failed: (e: unknown) => void }) {
  const [alarms, again] = useFresh<Alarm[]>(() => get("/api/alarms"), (m) => m.kind === "events", [], failed);
  const [events] = useFresh<Happening[]>(() => get("/api/events?limit=60"), (m) => m.kind === "events", [], failed);
  const [asked, setAsked] = useState<Record<string, boolean>>({});
  const [fault, setFault] = useState("");
  if (!alarms) return <p class="quiet">…</p>;
  const rank = (a: Alarm) => (a.active ? 0 : 10) + severityOrder.indexOf(a.severity);
  const send = (a: Alarm, verb: string) => {
    setAsked((all) => ({ ...all, [`${a.device}/${a.key}/${a.since}`]: true }));
    setFault("");
    order(a.device, a.key, verb).then(again, (e) => {
      setAsked((all) => ({ ...all, [`${a.device}/${a.key}/${a.since}`]: false }));
      setFault(`${a.key}: ${t("notDone")}`);
      failed(e);
    });
  };
  return (
    <>
      <h1>{t("alarms")}</h1>
      {fault ? <div class="banner" role="alert">{fault}</div> : null}
      <ul class="alarms" aria-live="polite">
        {alarms.length === 0 ? <li class="calm">{t("noAlarms")}</li> : null}
        {[...alarms].sort((a, b) => rank(a) - rank(b)).map((a) => {
          const mark = asked[`${a.device}/${a.key}/${a.since}`];
          return (
            <li key={`${a.device}/${a.key}`} class={`${a.active ? `active ${a.severity}` : "gone"}`} data-alarm={a.key} tabIndex={0}>
              <span class="badge">{a.severity}</span>
              <div><strong>{a.text || a.key}</strong>
                <p class="quiet">{a.device} · {a.key} · {moment(a.since / 1e6)}</p></div>
              <span class="state">{t(a.active ? "raised" : "cleared")}, {t(a.acked ? "acked" : "unacked")}{a.shelved_until > Date.now() * 1e6 ? `, ${t("shelved")}` : ""}</span>
              <span class="actions">
                {a.acked ? null : <button class="acknowledge" disabled={mark} onClick={() => send(a, "ack")}>{mark ? t("asked") : t("acknowledge")}</button>}
                <button class="plain" onClick={() => send(a, "shelve")}>{t("shelve")}</button>
              </span>
            </li>
          );
        })}
      </ul>
      <h2>{t("history")}</h2>
      <section class="panel">
        <table><tbody>
          {(events ?? []).map((e) => (
            <tr key={`${e.device}${e.epoch}${e.seq}`}><td class="quiet">{moment(e.ts / 1e6)}</td><td>{e.device}</td><td>{known(e.kind)} {e.key}</td><td>{known(e.state)}</td><td class="quiet wide">{e.text}</td></tr>
          ))}
        </tbody></table>
      </section>
    </>
  );
}
