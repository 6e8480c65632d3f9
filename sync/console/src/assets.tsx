// Machines: how long each has run, what is due, and which work orders are open.
import { useEffect, useState } from "preact/hooks";
import { failed, get } from "./api";
import { AssetForm } from "./asset_form";
import { PlaceChoice } from "./people";
import { day, number, useFresh } from "./show";
import { may } from "./signin";
import { TakeIn } from "./take_in";
import { joined, t } from "./words";

export interface Rule { what: string; hours?: number | null; days?: number | null }
/** A rule as it stands: when it was done last (s UTC, null: never), hours of running and days since, and when it is or was due. */
export interface Due extends Rule { last: number | null; ran: number; passed: number; due: boolean; at: number | null }
export interface Asset {
  number: number; id: string; place: string; name: string; class: string; device: string; tags: string; running: string; above: number; counter: string;
  before: number; begun: number; retired: number; hours: number | null; until: number; waits: number; daily: number | null; due: Due[]; open?: number; rules?: Rule[];
}
const MOST = 500;
export const days = (n: number): string => `${number(n)} ${t(n === 1 ? "oneDay" : "days")}`;
export const hours = (h: number): string => `${number(h < 100 ? Math.round(h * 10) / 10 : Math.round(h))} ${t("hoursShort")}`;

export function Pages({ here }: { here: string }) {
  const pages = [["assets", "#/assets"], ["workOrders", "#/work-orders"]] as const;
  return <p class="choices beside-pages" role="navigation" aria-label={t("assets")}>{pages.map(([word, to]) => <a key={to} class="button" href={to} aria-current={to === here ? "page" : undefined}>{t(word)}</a>)}</p>;
}

/** Where a list is fetched as a file. */
export function Files({ path, words = {} }: { path: string; words?: Record<string, string> }) {
  return <span class="choices files">{t("asFile")} {["csv", "json"].map((format) => <a key={format} class="button" download href={`${path}?${new URLSearchParams({ format, ...words })}`}>{format.toUpperCase()}</a>)}</span>;
}

export function Assets() {
  const [at, setAt] = useState(""), [find, setFind] = useState(""), [asked, setAsked] = useState(""), [due, setDue] = useState(false), [retired, setRetired] = useState(false), [asks, setAsks] = useState<"" | "new" | "file">(""), [told, setTold] = useState("");
  useEffect(() => {
    const timer = window.setTimeout(() => setAsked(find.trim()), 250);
    return () => window.clearTimeout(timer);
  }, [find]);
  const [list, again] = useFresh<Asset[]>(() => get(`/api/assets?${new URLSearchParams({ at, find: asked, due: String(due), retired: String(retired), limit: String(MOST) })}`), () => false, [at, asked, due, retired]);
  if (!list) return <p class="quiet">…</p>;
  const any = list.length > 0 || !!asked || due || retired || !!at;
  return (
    <>
      <header class="bar"><h1>{t("assets")}</h1><Pages here="#/assets" /><span class="grow" />{may("asset") ? <span class="choices"><button onClick={() => setAsks("file")}>{t("takeIn")}</button><button onClick={() => setAsks("new")}>{t("newAsset")}</button></span> : null}</header>
      <div class="bar filters">
        <input id="filter" type="search" placeholder={t("findAsset")} aria-label={t("findAsset")} value={find} onInput={(e) => setFind(e.currentTarget.value)} />
        <PlaceChoice at={at} pick={setAt} />
        <span class="choices"><button aria-pressed={due} onClick={() => setDue(!due)}>{t("dueOnly")}</button><button aria-pressed={retired} onClick={() => setRetired(!retired)}>{t("retiredToo")}</button></span>
        <span class="grow" /><Files path="/api/assets/export" words={{ at }} />
      </div>
      {told ? <p class="good" role="status">{told}</p> : null}
      {list.length ? null : any ? <p class="calm">{t("noneSuch")}</p> : <p class="calm">{t("noAssets")}<br /><span class="quiet">{t("noAssetsSub")}</span></p>}
      <ul class="rows">{list.map((one) => <Row key={one.number} one={one} />)}</ul>
      {asks === "file" ? <TakeIn<{ new: number; changed: number }> path="/api/assets/import" permission="asset" kinds={["csv", "json"]} file="assetFile" where="standsAt" at={at} close={() => setAsks("")} done={(said) => { setTold(`${number(said.new)} ${t("newOnes")} ${number(said.changed)} ${t("changedOnes")}`); again(); }} /> : null}
      {asks === "new" ? <AssetForm close={() => setAsks("")} done={(made) => { location.hash = `#/asset/${made}`; }} /> : null}
    </>
  );
}

function Row({ one }: { one: Asset }) {
  const late = one.due.filter((rule) => rule.due), next = one.due.filter((rule) => !rule.due && rule.at).sort((a, b) => a.at! - b.at!)[0];
  return (
    <li data-asset={one.id} class={late.length ? "is-due" : ""}>
      <div><a href={`#/asset/${one.number}`}><strong>{one.id}</strong> {one.name}</a><p class="quiet">{joined([one.place, one.class, one.retired ? t("outOfService") : ""])}</p></div>
      <span class="n">{one.hours === null ? "" : hours(one.hours)}{one.waits ? <span class="quiet" title={t("hoursWait")}> …</span> : null}</span>
      <span class="dues">{late.map((rule) => <span key={rule.what} class="warn">▲ {rule.what}: {t("isDue")}</span>)}
        {late.length === 0 && next ? <span class="quiet">{next.what}: {t("dueOn")} {day(next.at! * 1000)}</span> : null}
        {one.open ? <span>{number(one.open)} {t(one.open === 1 ? "orderIsOpen" : "ordersAreOpen")}</span> : null}</span>
    </li>
  );
}

export const wrong = (set: (fault: string) => void) => (e: Error) => { set(e.message); failed(e); };
