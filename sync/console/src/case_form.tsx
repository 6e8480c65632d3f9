// A fault case as somebody writes it: a new one, one of an alarm, or one that is changed.
import type { ComponentChildren } from "preact";
import { send } from "./api";
import { Dialog } from "./dialog";
import { placesOf } from "./signin";
import { t } from "./words";

export interface Case {
  id: string; symptom: string; asset: string; component: string; cause: string; remedy: string; source: string; parts: string[]; pictures: string[];
  signature: { alarm: string; shares: Record<string, number> };
}
export interface Kept { number: number; place: string; at: number; by: string; case: Case; near?: number; why?: string[] }

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

/** `draft` is what it begins with; `of` the one that is changed. */
export function CaseForm({ of, place = "", draft, title, children, close, done }: { of?: Kept; place?: string; draft?: Case; title: string; children?: ComponentChildren; close: () => void; done: (kept: Kept) => void }) {
  const was = of?.case ?? draft, tops = placesOf("case");
  const act = async (said: FormData) => {
    const text = (name: string) => String(said.get(name) ?? "").trim();
    const one = {
      id: text("id"), asset: text("asset"), component: text("component"), symptom: text("symptom"), cause: text("cause"), remedy: text("remedy"), source: text("source"),
      parts: listed(text("parts")), pictures: was?.pictures ?? [], signature: { alarm: text("alarm"), shares: shares(text("shares")) },
    };
    done(of ? await send<Kept>("PUT", `/api/cases/${of.number}`, one) : await send<Kept>("POST", "/api/cases", { place: text("place"), case: one }));
  };
  return (
    <Dialog title={title} word={t("writeCase")} close={close} act={act}>
      {children}
      <label>{t("idOfCase")} <input name="id" required maxLength={200} defaultValue={was?.id} autocomplete="off" /></label>
      {of ? null : <label>{t("servesAt")} <input name="place" maxLength={200} list="case-places" required={!tops.includes("")} placeholder={t("wholePlane")} defaultValue={place || (tops.includes("") ? "" : tops[0])} /></label>}
      <label>{t("assetNode")} <input name="asset" maxLength={200} defaultValue={was?.asset} placeholder="water_pump" /></label>
      <label>{t("componentNode")} <input name="component" maxLength={200} defaultValue={was?.component} /></label>
      <label class="whole">{t("symptomNode")} <textarea name="symptom" required maxLength={2000} rows={2} defaultValue={was?.symptom} /></label>
      <label class="whole">{t("causeNode")} <textarea name="cause" maxLength={2000} rows={2} defaultValue={was?.cause} /></label>
      <label class="whole">{t("remedyNode")} <textarea name="remedy" maxLength={2000} rows={2} defaultValue={was?.remedy} /></label>
      <label>{t("signatureAlarm")} <input name="alarm" maxLength={200} defaultValue={was?.signature.alarm} /></label>
      <label>{t("signatureShares")} <input name="shares" title={t("sharesHow")} placeholder="flow=-0.7; current=0.2" defaultValue={was ? sharesOf(was.signature.shares) : ""} /></label>
      <label>{t("neededParts")} <input name="parts" title={t("partsHow")} placeholder={t("partsHow")} defaultValue={was?.parts.join("; ")} /></label>
      <label>{t("caseSource")} <input name="source" maxLength={2000} defaultValue={was?.source} /></label>
      <datalist id="case-places">{tops.filter(Boolean).map((one) => <option key={one} value={one} />)}</datalist>
    </Dialog>
  );
}
