// What stands, and what happened.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type Alarm, failed, get, type Happening, normal, order } from "./api";
import { OrderOfAlarm } from "./orders";
import { sentence } from "./sentences";
import { moment, severityOrder, useFresh } from "./show";
import { may } from "./signin";
import { MakeCase, Similar, useTold } from "./similar";
import { Sure } from "./sure";
import { joined, known, t } from "./words";

export function Alarms() {
  const [alarms, again] = useFresh<Alarm[]>(() => get("/api/alarms"), (m) => m.kind === "events", []);
  const told = useTold();
  return (
    <>
      <h1>{t("alarms")}</h1>
      {alarms ? <Standing alarms={alarms} again={again} more={(a) => (a.device === "@plane" ? null : <>{may("case") ? <MakeCase alarm={a} /> : null}{may("maintain") ? <OrderOfAlarm device={a.device} about={a.key} title={a.text || a.key} /> : null}</>)} below={(a) => <Similar told={told} alarm={a} />} /> : null}
      {alarms?.length === 0 ? <p class="calm">✓ {t("noAlarms")}</p> : null}
      <History />
    </>
  );
}

/** Alarms with what can be done about each, the worst first. `again` loads them anew; `more` is what else can be done, `below` what else is to be said. */
export function Standing({ alarms, again, most = Infinity, more, below }: { alarms: Alarm[]; again: () => void; most?: number; more?: (alarm: Alarm) => ComponentChildren; below?: (alarm: Alarm) => ComponentChildren }) {
  const [asked, setAsked] = useState<Record<string, string>>({});
  const [fault, setFault] = useState("");
  const rank = (a: Alarm) => (a.shelved ? 20 : a.active ? 0 : 10) + severityOrder.indexOf(a.severity);
  const send = (a: Alarm, verb: string) => {
    setAsked((all) => ({ ...all, [name(a)]: asItStands(a, verb) }));
    setFault("");
    order(a.device, a.key, verb).then(again, (e) => {
      setAsked((all) => ({ ...all, [name(a)]: "" }));
      setFault(`${a.key}: ${t("notDone")}`);
      failed(e);
    });
  };
  return (
    <>
      {fault ? <div class="banner" role="alert">{fault}</div> : null}
      <ul class="alarms" aria-live="polite">
        {[...alarms].sort((a, b) => rank(a) - rank(b)).slice(0, most).map((a) => (
          <Row key={name(a)} alarm={a} asked={(verb) => asked[name(a)] === asItStands(a, verb)} send={(verb) => send(a, verb)} more={more?.(a)} below={below?.(a)} />
        ))}
      </ul>
    </>
  );
}

function History() {
  const [events] = useFresh<Happening[]>(() => get("/api/events?routine=false&limit=60"), (m) => m.kind === "events", []);
  return (
    <>
      <h2>{t("history")}</h2>
      <section class="panel">
        {events?.length === 0 ? <p class="quiet">{t("nothing")}</p> : null}
        <table><tbody>
          {(events ?? []).map((e) => (
            <tr key={`${e.device}${e.epoch}${e.seq}`}>
              <td class="quiet">{moment(e.ts / 1e6)}</td><td class="wide">{whose(e.device)}</td>
              <td>{known(e.kind)} {e.kind === "command" ? `${known(e.key)} ${e.data.alarm ?? e.data.tag ?? e.data.stage ?? ""}` : e.key}{unlike(e) && may("configure") ? <IsNormal of={e} /> : null}</td>
              <td>{known(e.state)}</td><td class="quiet wide">{sentence(e.text)}</td>
            </tr>
          ))}
        </tbody></table>
      </section>
    </>
  );
}

/** What a detector tells where its machine may only be set up anew. */
const unlike = (e: Happening) => (e.kind === "anomaly" && e.state === "raised") || (e.kind === "model" && e.state === "drifted");

/** A person's word that what the machine does now is normal, to its detector. */
function IsNormal({ of }: { of: Happening }) {
  const [asked, setAsked] = useState(false);
  const say = () => { setAsked(true); normal(of.device, of.key).catch((e) => { setAsked(false); failed(e); }); };
  return <> <Sure word={t(asked ? "asked" : "isNormal")} question={`${of.key}: ${t("isNormalAsk")}`} act={say} disabled={asked} /></>;
}

/** The plane's own rules raise alarms too. */
const whose = (device: string) => (device === "@plane" ? t("plane") : device);
/** The number of the rollout that was halted, where that is the alarm. */
const ofRollout = (a: Alarm) => (a.device === "@plane" ? /^rollout (\d+)$/.exec(a.key)?.[1] : undefined);
/** Whether it says that maintenance is due. */
const ofAsset = (a: Alarm) => a.device === "@plane" && a.key.startsWith("due ");
const name = (a: Alarm) => `${a.device}/${a.key}`;
/** An order for an alarm as it stands; once it stands otherwise, the order is done or of no use. */
const asItStands = (a: Alarm, verb: string) => `${verb} ${a.since} ${a.active} ${a.acked} ${a.shelved}`;

function Row({ alarm: a, asked, send, more, below }: { alarm: Alarm; asked: (verb: string) => boolean; send: (verb: string) => void; more?: ComponentChildren; below?: ComponentChildren }) {
  const look = a.shelved ? "aside" : a.active ? `active ${a.severity}` : "gone";
  const button = (verb: "acknowledge" | "shelve" | "unshelve", order = verb as string) => (
    <button class={verb} disabled={asked(order)} onClick={(e) => { e.currentTarget.closest("li")?.focus(); send(order); }}>{t(asked(order) ? "asked" : verb)}</button>
  );
  return (
    <li class={look} data-alarm={a.key} tabIndex={0} aria-label={a.text || a.key}>
      <span class="badge">{known(a.severity)}</span>
      <div><strong>{ofRollout(a) || ofAsset(a) ? sentence(a.text) : a.text || a.key}</strong>
        <p class="quiet">{whose(a.device)} · {ofRollout(a) ? <a href={`#/rollout/${ofRollout(a)}`}>{a.key}</a> : a.key} · {moment(a.since / 1e6)}</p>{below}</div>
      <span class="state">{joined([
        t(a.active ? "raised" : "cleared"), t(a.acked ? "acked" : "unacked"),
        a.shelved ? `${t("shelved")} ${t("until")} ${moment(a.shelved_until / 1e6)}` : "",
      ])}</span>
      <span class="actions">
        {a.acked ? null : button("acknowledge", "ack")}
        {button(a.shelved ? "unshelve" : "shelve")}
        {more}
      </span>
    </li>
  );
}
