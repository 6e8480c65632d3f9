// Work orders: what is to be done, by whom it was opened and why, and what came of it.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { failed, get, send } from "./api";
import { type Asset, Files, Pages, type Rule } from "./assets";
import { DeedForm, type Part } from "./deed";
import { Dialog } from "./dialog";
import { moment, useFresh } from "./show";
import { may } from "./signin";
import { joined, t } from "./words";

type Came = { position: string; part: string; serial: string };
export interface Order {
  number: number; state: "open" | "done" | "dropped"; origin: "hand" | "alarm" | "due"; about: string; title: string; note: string; opened: number; opened_by: string;
  ended: number; ended_by: string; did: string; asset: string; asset_number: number; name: string; place: string; installed: Came[]; removed: Came[];
}
const STATES = [["open", "orderOpen"], ["done", "orderDone"], ["dropped", "orderDropped"], ["", "all"]] as const;
const STATE = Object.fromEntries(STATES) as Record<string, (typeof STATES)[number][1]>;
const PAGE = 100;

export function WorkOrders() {
  const [state, setState] = useState("open"), [most, setMost] = useState(PAGE);
  const [list, again] = useFresh<Order[]>(() => get(`/api/work-orders?${new URLSearchParams({ state, limit: String(most) })}`), () => false, [state, most]);
  return (
    <>
      <header class="bar"><h1>{t("workOrders")}</h1><Pages here="#/work-orders" /><span class="grow" /><Files path="/api/work-orders/export" words={{ state }} /></header>
      <div class="choices" role="group" aria-label={t("workOrders")}>{STATES.map(([value, word]) => <button key={value} aria-pressed={value === state} onClick={() => setState(value)}>{t(word)}</button>)}</div>
      {list ? <OrderList list={list} again={again} named /> : <p class="quiet">…</p>}
      {list && list.length === most && most < 1000 ? <button onClick={() => setMost(1000)}>{t("olderOnes")}</button> : null}
    </>
  );
}

/** `named`: with the asset of each. */
export function OrderList({ list, again, named = false }: { list: Order[]; again: () => void; named?: boolean }) {
  const [ending, setEnding] = useState<[Order, "done" | "dropped"] | null>(null);
  if (!list.length) return <p class="quiet">{t("noOrders")}</p>;
  return (
    <>
      <ul class="rows orders">{list.map((one) => (
        <li key={one.number} data-order={one.number}>
          <div><strong><span class="quiet">{one.number}</span> {one.title}</strong>
            <p class="quiet">{named ? <><a href={`#/asset/${one.asset_number}`}>{one.asset} {one.name}</a> · </> : null}{why(one)} · {t("openedBy")} {one.opened_by} {moment(one.opened * 1000)}</p>
            {one.note ? <p>{one.note}</p> : null}
            {one.state === "open" ? null : <p>{joined([one.did, ...one.installed.map(shown)])} <span class="quiet">{one.ended_by} {moment(one.ended * 1000)}</span></p>}</div>
          <span class={one.state === "open" ? "warn" : "quiet"}>{t(STATE[one.state])}</span>
          {one.state === "open" && may("maintain", one.place) ? <span class="actions"><button onClick={() => setEnding([one, "done"])}>{t("finishOrder")}</button><button onClick={() => setEnding([one, "dropped"])}>{t("dropOrder")}</button></span> : <span />}
        </li>
      ))}</ul>
      {ending?.[1] === "done" ? <Done order={ending[0]} close={() => setEnding(null)} again={again} /> : null}
      {ending?.[1] === "dropped" ? <Dropped order={ending[0]} close={() => setEnding(null)} again={again} /> : null}
    </>
  );
}

const shown = (one: Came): string => `${one.position}: ${one.part}${one.serial ? ` (${one.serial})` : ""}`;
const why = (one: Order): string => (one.origin === "hand" ? t("byHand") : `${t(one.origin === "alarm" ? "ofAlarm" : "ofDue")} ${one.about}`);
const ends = (order: Order, state: string, deed: object, again: () => void) => send("POST", `/api/work-orders/${order.number}`, { state, deed }).then(again);

function Done({ order, close, again }: { order: Order; close: () => void; again: () => void }) {
  const [its] = useFresh<Asset & { rules: Rule[]; parts: Part[] }>(() => get(`/api/assets/${order.asset_number}`), () => false, []);
  if (!its) return null;
  return <DeedForm title={order.title} rules={its.rules} rule={order.origin === "due" ? order.about : ""} parts={its.parts} close={close} keep={(deed) => ends(order, "done", deed, again)} />;
}

function Dropped({ order, close, again }: { order: Order; close: () => void; again: () => void }) {
  return (
    <Dialog title={order.title} word={t("orderDropped")} close={close} act={(said) => ends(order, "dropped", { did: String(said.get("did")).trim() }, again)}>
      <label class="whole">{t("whyNot")} <textarea name="did" required maxLength={4000} rows={2} /></label>
    </Dialog>
  );
}

/** A new one. */
export function OrderForm({ asset, title = "", origin = "hand", about = "", close, again, children }: { asset: number; title?: string; origin?: string; about?: string; close: () => void; again: () => void; children?: ComponentChildren }) {
  const act = (said: FormData) => send("POST", `/api/assets/${asset}/work-orders`, { title: String(said.get("title")).trim(), note: String(said.get("note")).trim(), origin, about }).then(again);
  return (
    <Dialog title={t("newOrder").replace(/ ?…$/, "")} word={t("openOrder")} close={close} act={act}>
      {children}
      {origin === "hand" ? null : <p class="quiet">{t(origin === "alarm" ? "ofAlarm" : "ofDue")} {about}</p>}
      <label class="whole">{t("orderTitle")} <input name="title" required maxLength={200} defaultValue={[...title].slice(0, 200).join("")} /></label>
      <label class="whole">{t("orderNote")} <textarea name="note" maxLength={4000} rows={3} /></label>
    </Dialog>
  );
}

/** For an asset on the device of an alarm. */
export function OrderOfAlarm({ device, about, title }: { device: string; about: string; title: string }) {
  const [its, setIts] = useState<Asset[] | null>(null), [asset, setAsset] = useState(0), [made, setMade] = useState(0);
  const begin = () => get<Asset[]>(`/api/assets?${new URLSearchParams({ device, limit: "1000" })}`).then((found) => { setIts(found); setAsset(found[0]?.number ?? 0); }, failed);
  if (made) return <span role="status"><a href={`#/asset/${made}`}>{t("orderMade")}</a></span>;
  return (
    <>
      <button class="make-order" onClick={begin}>{t("orderIt")}</button>
      {its?.length === 0 ? <span class="quiet" role="status">{t("noAssetThere")}</span> : its ? (
        <OrderForm asset={asset} title={title.slice(0, 200)} origin="alarm" about={about} close={() => setIts(null)} again={() => setMade(asset)}>
          <label class="whole">{t("asset")} <select value={asset} onChange={(e) => setAsset(Number(e.currentTarget.value))}>{its.map((one) => <option key={one.number} value={one.number}>{one.id} {one.name}</option>)}</select></label>
        </OrderForm>
      ) : null}
    </>
  );
}
