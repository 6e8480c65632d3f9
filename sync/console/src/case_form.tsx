// A fault case as somebody writes it: a new one, one of an alarm, or one that is changed.
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import { get, send } from "./api";
import { Dialog } from "./dialog";
import { placesOf } from "./signin";
import { t, type Word } from "./words";

export interface Case {
  id: string; symptom: string; asset: string; component: string; cause: string; remedy: string; source: string; parts: string[]; pictures: string[];
  signature: { alarm: string; shares: Record<string, number> };
}
export interface Kept { number: number; place: string; at: number; by: string; version: string; case: Case; near?: number; why?: string[] }

/** Of which a case is made, as the plane names it. */
export interface Origin { device: string; epoch: string; seq: number }

export const sharesOf = (shares: Record<string, number>): string => Object.entries(shares).map(([tag, share]) => `${tag}=${share}`).join("; ");
const listed = (text: string): string[] => text.split(/[;；]/).map((one) => one.trim()).filter(Boolean);
/** Raises an error that names what is none. */
function shares(text: string): Record<string, number> {
  const said = new Map<string, number>();
  for (const one of listed(text)) {
    const [, tag, share] = /^(.*\S)\s*=\s*(\S+)$/.exec(one) ?? [];
    if (!tag || said.has(tag) || !Number.isFinite(Number(share))) throw new Error(`${one} ${t("wrongShares")}`);
    said.set(tag, Number(share));
  }
  return Object.fromEntries(said);
}

/** A case as its form shows it. */
const written = (one: Case) => ({
  id: one.id, asset: one.asset, component: one.component, symptom: one.symptom, cause: one.cause, remedy: one.remedy,
  alarm: one.signature.alarm, shares: sharesOf(one.signature.shares), parts: one.parts.join("; "), source: one.source,
});
type Name = keyof ReturnType<typeof written>;

/** `draft` is what it begins with; `of` the one that is changed. Where somebody else wrote it meanwhile it shows what they wrote, and keeps over that only then. */
export function CaseForm({ of, place = "", draft, alarm, title, children, close, done }: { of?: Kept; place?: string; draft?: Case; alarm?: Origin; title: string; children?: ComponentChildren; close: () => void; done: (kept: Kept) => void }) {
  const [base, setBase] = useState(of), [others, setOthers] = useState<Partial<Record<Name, string>>>({});
  const [was] = useState(() => (of || draft) && written(of?.case ?? draft!)), tops = placesOf("case");
  const read = async () => {
    const now = await get<Kept>(`/api/cases/${of!.number}`);
    if (now.version === base!.version) return;
    const before = written(base!.case);
    setOthers(Object.fromEntries(Object.entries(written(now.case)).filter(([name, said]) => said !== before[name as Name])));
    setBase(now);
  };
  const act = async (said: FormData) => {
    const text = (name: Name | "place") => String(said.get(name) ?? "").trim();
    const one = {
      id: text("id"), asset: text("asset"), component: text("component"), symptom: text("symptom"), cause: text("cause"), remedy: text("remedy"), source: text("source"),
      parts: listed(text("parts")), pictures: (base?.case ?? draft)?.pictures ?? [], signature: { alarm: text("alarm"), shares: shares(text("shares")) },
    };
    if (!base) return done(await send<Kept>("POST", "/api/cases", { place: text("place"), case: one, alarm }));
    done(await send<Kept>("PUT", `/api/cases/${base.number}?version=${base.version}`, one).catch((e) => read().then(() => { throw e; }, () => { throw e; })));
  };
  const field = (name: Name, word: Word, more: JSX.IntrinsicElements["input"] = {}) => (
    <div class="field"><label>{t(word)} <input name={name} maxLength={200} defaultValue={was?.[name]} {...more} /></label>{other(name)}</div>
  );
  const long = (name: Name, word: Word, required = false) => (
    <div class="field whole"><label>{t(word)} <textarea name={name} required={required} maxLength={2000} rows={2} defaultValue={was?.[name]} /></label>{other(name)}</div>
  );
  const other = (name: Name) => {
    const said = others[name];
    if (said === undefined) return null;
    const take = (e: MouseEvent) => { ((e.currentTarget as HTMLButtonElement).form!.elements.namedItem(name) as HTMLInputElement).value = said; };
    return <p class="warn other" data-other={name}>{base!.by}: {said || t("nothingThere")} <button type="button" onClick={take}>{t("takeTheirs")}</button></p>;
  };
  return (
    <Dialog title={title} word={t("writeCase")} close={close} act={act}>
      {children}
      {field("id", "idOfCase", { required: true, autocomplete: "off" })}
      {of ? null : <label>{t("servesAt")} <input name="place" maxLength={200} list="case-places" required={!tops.includes("")} placeholder={t("wholePlane")} defaultValue={place || (tops.includes("") ? "" : tops[0])} /></label>}
      {field("asset", "assetNode", { placeholder: "water_pump" })}
      {field("component", "componentNode")}
      {long("symptom", "symptomNode", true)}
      {long("cause", "causeNode")}
      {long("remedy", "remedyNode")}
      {field("alarm", "signatureAlarm")}
      {field("shares", "signatureShares", { maxLength: undefined, title: t("sharesHow"), placeholder: "flow=-0.7; current=0.2" })}
      {field("parts", "neededParts", { maxLength: undefined, title: t("partsHow"), placeholder: t("partsHow") })}
      {field("source", "caseSource", { maxLength: 2000 })}
      <datalist id="case-places">{tops.filter(Boolean).map((one) => <option key={one} value={one} />)}</datalist>
    </Dialog>
  );
}
