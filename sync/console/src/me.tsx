// Who I am here, and another password.
import { useState } from "preact/hooks";
import { failed, send } from "./api";
import { placeName } from "./people";
import { sentence } from "./sentences";
import { meNow } from "./signin";
import { role as roleWord, t } from "./words";

export function Mine() {
  const me = meNow();
  const [fault, setFault] = useState("");
  if (!me) return <p class="quiet">…</p>;
  const change = (e: Event) => {
    e.preventDefault();
    setFault("");
    const said = Object.fromEntries(new FormData(e.currentTarget as HTMLFormElement));
    send("POST", "/api/password", said).then(() => location.reload(), (e) => { setFault(e.message); failed(e); });
  };
  return (
    <>
      <h1>{me.name}</h1>
      <section class="panel" aria-label={t("role")}><ul class="roles">{me.roles.map(([role, place]) => <li key={`${role} ${place}`}>{roleWord(role)} <span class="quiet">{placeName(place)}</span></li>)}</ul></section>
      {me.account ? (
        <form class="panel making" onSubmit={change} aria-label={t("anotherPassword")}>
          <label>{t("passwordNow")} <input name="old" type="password" required autocomplete="current-password" /></label>
          <label>{t("anotherPassword")} <input name="new" type="password" required minLength={12} maxLength={200} autocomplete="new-password" /></label>
          <p class="quiet hint">{t("passwordRule")} {t("signInAnew")}</p>
          {fault ? <p class="bad" role="alert">{sentence(fault)}</p> : null}
          <div class="choices"><button class="primary">{t("setPassword")}</button></div>
        </form>
      ) : null}
    </>
  );
}
