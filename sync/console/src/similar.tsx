// The cases that an alarm looks like, as its device told of them with no network; and a case that is made of an alarm.
import { useState } from "preact/hooks";
import { type Alarm, failed, get, type Happening } from "./api";
import { type Case, CaseForm, type Origin } from "./case_form";
import { percent } from "./cases";
import { sentence } from "./sentences";
import { useFresh } from "./show";
import { joined, t } from "./words";

interface Near { id: string; symptom: string; cause: string; remedy: string; near: number; parts: string[] }
interface Draft { place: string; case: Case; near: unknown; alarm: Origin }
const MS = 1e6; // ns

/** What the devices told of cases, the newest first. */
export const useTold = (): Happening[] => useFresh<Happening[]>(() => get("/api/events?kind=cases&limit=300"), (m) => m.kind === "events", [], 1000)[0] ?? [];

/** What a device says may be anything. */
function sound(cases: unknown): Near[] {
  const text = (said: unknown) => (typeof said === "string" ? said : "");
  return (Array.isArray(cases) ? cases : []).filter((one) => typeof one?.id === "string" && typeof one.near === "number").map((one) => ({
    id: one.id, near: one.near, symptom: text(one.symptom), cause: text(one.cause), remedy: text(one.remedy), parts: Array.isArray(one.parts) ? one.parts.map(text) : [],
  }));
}

function nearest(told: Happening[], a: Alarm): Near[] {
  const own = told.find((e) => e.device === a.device && e.data?.about === "alarm" && e.data.key === a.key && e.ts >= a.since - MS);
  return sound(own?.data.cases);
}

export function Similar({ told, alarm }: { told: Happening[]; alarm: Alarm }) {
  const cases = nearest(told, alarm);
  return cases.length ? <details class="similar"><summary>{t("similarCases")}: {cases[0].id} {percent(cases[0].near)}</summary><Nears cases={cases} /></details> : null;
}

/** `apart`: what somebody is writing stays while they look. */
function Nears({ cases, apart = false }: { cases: Near[]; apart?: boolean }) {
  return (
    <div role="list">{cases.map((one) => (
      <div role="listitem" key={one.id}><a href={`#/cases/find/${encodeURIComponent(one.id)}`} target={apart ? "_blank" : undefined}>{one.id}</a> <span class="quiet">{percent(one.near)}</span> {one.symptom}
        {one.cause || one.remedy ? <p>{[one.cause, one.remedy].filter(Boolean).join(" → ")}</p> : null}
        {one.parts.length ? <p class="quiet">{t("neededParts")}: {joined(one.parts)}</p> : null}</div>
    ))}</div>
  );
}

export function MakeCase({ alarm: a }: { alarm: Alarm }) {
  const [draft, setDraft] = useState<Draft | null>(null), [fault, setFault] = useState(""), [made, setMade] = useState(0);
  const begin = async () => {
    setFault("");
    const device = encodeURIComponent(a.device), events = await get<Happening[]>(`/api/events?kind=alarm&limit=500&device=${device}`);
    const raised = events.find((e) => e.key === a.key && e.state === "raised");
    if (!raised) throw new Error(t("notDone"));
    setDraft(await get<Draft>(`/api/devices/${device}/case?${new URLSearchParams({ epoch: raised.epoch, seq: String(raised.seq) })}`));
  };
  const like = sound(draft?.near);
  if (made) return <span role="status"><a href={`#/case/${made}`}>{t("caseMade")}</a></span>;
  return (
    <>
      <button class="make-case" onClick={() => begin().catch((e) => { setFault(e.message); failed(e); })}>{t("makeCase")}</button>
      {fault ? <span class="bad" role="alert">{sentence(fault)}</span> : null}
      {draft ? (
        <CaseForm title={t("makeCase").replace(/ ?…$/, "")} place={draft.place} draft={draft.case} alarm={draft.alarm} close={() => setDraft(null)} done={(kept) => setMade(kept.number)}>
          {like.length ? <div class="whole quiet similar">{t("looksLike")}<Nears cases={like} apart /></div> : null}
        </CaseForm>
      ) : null}
    </>
  );
}
