// What stations, tools, reviews and orders say in sentences, in Chinese. A hole {} stands for what changes; what is not here is shown as it came.
import { label, language } from "./words";

const SENTENCES: [string, string][] = [
  // why a review or another order was not taken
  ["part {} was reviewed already: {} says {} (look at that one; who thinks otherwise corrects it, and both are kept)", "工件 {0} 已由 {1} 复核为：{2}（请查看该结果；如有异议请更正，两次结果都会保留）"],
  ["the journal cannot keep it: {} (say it again when it can)", "日志库无法保存：{0}（恢复后请重新提交）"],
  ["the journal cannot keep it: {}", "日志库无法保存：{0}"],
  ["the review that this one corrects is not here", "设备上没有要更正的那次复核"],
  ["a part is ok or ng, not {}", "工件只能是合格或不合格，不能是 {0}"],
  ["a review says of which inspection it is, and by whom", "复核须注明对应的检测和复核人"],
  ["who looked?", "请注明复核人"],
  ["this part was judged before a new journal began here", "该工件属于本设备启用新日志库之前"],
  ["{} orders of the plane are not carried out: they were given before {}, and whether they were carried out is no longer known; give those again that are still wanted", "控制平台的 {0} 条指令未执行：它们在{1}之前下达，是否执行过已无从得知；仍需要的请重新下达"],
  ["this journal was damaged", "日志库损坏"],
  ["this device began a new journal", "设备启用新日志库"],
  ["this release does not know such an order; update it", "设备软件版本不支持该指令，请更新"],
  ["the release that runs on {} does not know such an order; update it, then give the order again", "{0} 的软件版本不支持该指令，请更新后重新下达"],
  ["this site takes no orders of the plane; `sync: {writes: true}` allows them", "本站点不接受控制平台的写入指令；`sync: {writes: true}` 可开启"],
  ["this site has no such tag", "本站点没有该变量"],
  ["this site has no such detector", "本站点没有该检测器"],
  ["the device has not said a word of it in time", "设备未在时限内应答"],
  ["this site does not answer that; `sync: {commands: [..., {}]}` allows it", "本站点不应答该询问；`sync: {commands: [..., {0}]}` 可开启"],
  ["{} others are being answered; ask again later", "设备正在处理 {0} 个询问，请稍后再试"],
  ["given {} s ago, it was good for {} s", "{0} 秒前下达，有效期 {1} 秒"],
  ["the device stopped before it had the answer; ask again", "设备在得到结果前停止，请重新询问"],
  ["no picture of {} came within {} s ({})", "{1} 秒内没有 {0} 的图像（{2}）"],
  ["no answer within {} s", "{0} 秒内没有结果"],
  ["this site has no tag {}", "本站点没有变量 {0}"],
  ["that is no value", "数值无效"],
  ["by {}: {}", "{0}：{1}"],
  // alarms and events of the plane's own
  ["maintenance of {} is due: {} (every {} days)", "{0} 需要保养：{1}（每 {2} 天）"],
  ["maintenance of {} is due: {} (every {} running hours)", "{0} 需要保养：{1}（每运行 {2} 小时）"],
  ["maintenance of {} is due: {} (every {} running hours or {} days, whichever comes first)", "{0} 需要保养：{1}（每运行 {2} 小时或 {3} 天，以先到者为准）"],
  ["who signs certificates for this plane has a third of its time left: `lineside plane issuer --root-key FILE`", "本平台签发证书的有效期仅剩三分之一，请运行 `lineside plane issuer --root-key FILE` 更换"],
  ["{} speaks from two places: its state folder was copied; revoke it, and enrol the right one anew", "{0} 在两处同时连接：其状态目录被复制；请吊销该设备，并重新注册正确的那一台"],
  ["another box is {} from now on; the old one is let in no more", "{0} 已更换为另一台主机；旧主机不再允许接入"],
  ["another box is {} from here on", "自此 {0} 为另一台主机"],
  // which fault cases an alarm is like
  ["like {} ({}): {}", "类似 {0}（{1}）：{2}"],
  ["also like {}", "另类似 {0}"],
  ["its cause: {}", "原因：{0}"],
  ["what helped: {}", "处理：{0}"],
  // what became of what the plane wants
  ["the plane has no cases for this device", "平台没有适用于本设备的案例"],
  ["this site takes no {} that the plane wants; `sync: {installs: [{}]}` in its file allows it", "本站点不接受平台下发的 {0}；可在站点文件中用 `sync: {installs: [{1}]}` 开启"],
  ["{} gave no good sample", "{0} 没有一个良好采样"],
  ["{} gave {} good samples, {} before", "{0} 的良好采样为 {1}，此前为 {2}"],
  ["{} gave {} of the samples that it promises, {} before", "{0} 只给出应有采样的 {1}，此前为 {2}"],
  ["{} does not run", "{0} 未运行"],
  ["the alarm {} was raised", "触发了报警 {0}"],
  ["it was cut off in the middle of its trial; what ran before runs", "试运行中途被中断；已恢复此前的配置"],
  ["{} was edited since and does not run: {}", "{0} 之后被修改过，未运行：{1}"],
  ["{} was applied at the device and runs: {}", "{0} 已在设备上直接应用并运行：{1}"],
  // why the plane did not do what a person wished
  ["that is not your password until now", "当前密码不正确"],
  ["a password has {} to {} characters, and five different ones at least", "密码须为 {0} 至 {1} 个字符，且至少 5 个不同字符"],
  ["{} has an account already (`person bind` gives a role, `person password` another password)", "{0} 已有账户"],
  ["there is a key called {} already (`apikey remove` it, or name another)", "已有名为 {0} 的密钥"],
  ["nobody gives or takes what they do not have: {} at {}", "不能授予或收回自己没有的权限：{1} 的 {0}"],
  ["{} is no place in the tree (names with one / between them, as in acme/east/suzhou/line-3)", "{0} 不是有效的位置，应如 acme/east/suzhou"],
  ["{} is too long for a place ({} names, {} characters at most)", "位置过长：{0}（最多 {1} 级、{2} 个字符）"],
  ["{} is no name (1 to 64 letters, digits and _.@+-; nor what the audit calls others)", "{0} 不是有效的名称：1 至 64 个字母、数字或 _.@+-"],
  ["nobody here has such a name", "没有这个账户"],
  ["that is you: somebody else has to do it", "这是您自己的账户，须由他人更改"],
  ["{} has a role beyond yours, so who looks after the whole plane does it", "{0} 的权限超出您的范围，须由管理整个平台的人更改"],
  ["a {} is one of the whole plane (leave out --at; below the root: tenant_admin)", "{0} 只能属于整个平台"],
  ["{} is not among the updates of this plane (copy the repository with it into `updates` of the plane's folder, see docs/updates.md)", "平台上没有 {0}"],
  ["no device fits ({}) (`lineside plane devices` lists them)", "没有符合的设备（{0}）"],
  ["your roles include 'roll' for a part of the tree: name a site in it", "您只能在部分位置推送，请填写其中的位置"],
  ["{} is no wave; write a number of devices, or a share of all as in 10%", "{0} 不是批次，请填写台数或比例，如 10%"],
  ["{} is no share; write it as in 5%, or 100% where it ends nothing", "{0} 不是比例，应如 5%；100% 表示不限制"],
  ["{} is no time of day; write it as in 22:30", "{0} 不是时间，应如 22:30"],
  ["{} is no duration; write a number and a unit, as in 100ms, 5s, 2min, 72h, 30d", "{0} 不是时长，应如 5min、2h"],
  ["no time zone is called {}, write it as in Asia/Shanghai", "没有时区 {0}，应如 Asia/Shanghai"],
  ["is missing", "缺少"],
  ["it ends when it begins", "结束与开始相同"],
  ["must be a whole number, not {}", "须为整数，而不是 {0}"],
  ["must be a whole number, got a number with a fractional part, not {}", "须为整数，而不是 {0}"],
  ["must be greater than or equal to {}, not {}", "不能小于 {0}，而这里是 {1}"],
  ["must be less than or equal to {}, not {}", "不能大于 {0}，而这里是 {1}"],
  // assets and work orders
  ["there is an asset {} in {} already", "{1} 中已有资产 {0}"],
  ["{} is not enrolled here (`lineside plane devices` lists them)", "没有接入名为 {0} 的设备"],
  ["there is no such device here", "没有这台设备"],
  ["{} stands at {}, and the asset at {} (an asset and its device belong to one enterprise; `lineside plane place` moves a device)", "{0} 位于 {1}，资产位于 {2}；资产与设备须属于同一企业"],
  ["your roles do not reach {}: name a place below your own", "您的角色不包含 {0}，请填写您范围内的位置"],
  ["your roles do not reach {} (name a place below your own)", "您的角色不包含 {0}，请填写您范围内的位置"],
  ["there is an asset {} in {} already (at a place that is not yours)", "{1} 中已有资产 {0}，位于您范围之外"],
  ["it stands twice in the file (first at {})", "文件中重复出现，首次见 {0}"],
  ["not UTF-8 text (save it as CSV UTF-8)", "不是 UTF-8 文本，请另存为 CSV UTF-8"],
  ["unknown column {} (did you mean {}?)", "没有列 {0}，是否为 {1}？"],
  ["unknown column {} (there are {})", "没有列 {0}，可用：{1}"],
  ["the column {} stands twice", "列 {0} 重复"],
  ["more cells than columns (put texts with commas into quotes)", "单元格多于列数，含逗号的文本请加引号"],
  ["{} is no time; write 2026-03-01 or 2026-03-01T08:00:00Z", "{0} 不是时间，应如 2026-03-01"],
  ["{} is none; write: change oil = 500 hours or 365 days; inspect = 90 days", "{0} 无法识别，应如 换油 = 500 hours or 365 days; 检查 = 90 days"],
  ["{} is no file of assets (its name has to end with .csv or .json)", "{0} 不是资产文件，须以 .csv 或 .json 结尾"],
  ["nothing of the file is kept", "文件未导入"],
  ["and {} more", "另有 {0} 处"],
  ["no tag of {} is called {} (did you mean {}?)", "{0} 没有名为 {1} 的变量，是否为 {2}？"],
  ["no tag of {} is called {}", "{0} 没有名为 {1} 的变量"],
  ["{} of {} is a text, and says in no number whether it runs", "{1} 的 {0} 是文本，不能表示是否运行"],
  ["{} has a history of parts, maintenance or work orders, which stays (say since when it is `retired`: then it is counted and due no more)", "{0} 已有零件、维护或工单记录，须保留；可将其设为停用"],
  ["a rule by hours needs `running` or `counter`, which says how long it runs", "按运行小时到期的项目需要表示运行或计时的变量"],
  ["its tags are of which `device`?", "请填写变量所属的设备"],
  ["two of its rules are called the same", "有两个到期项目同名"],
  ["rules.{}: {}: after how many `hours` of running, or `days`?", "{1}（{0}）：请填写运行小时数或天数"],
  ["nothing is built in at {} of {} (which `part` comes there?)", "{1} 的 {0} 处没有零件，请填写零件号"],
  ["{} came to {} later than that (say when it was, after that)", "{1} 处的 {0} 装入时间晚于此时间"],
  ["{} was at {} until after that (say when it was, after that)", "此时间之后 {1} 处仍装有 {0}"],
  ["rules.{}: {}: a semicolon parts rules in a table; write a comma", "{1}（{0}）：名称不能含分号，请用逗号"],
  ["deed: two of its parts are at the same position; say what is there in the end", "有两个零件在同一安装位置，请只填写最终装入的"],
  ["two of its parts are at the same position; say what is there in the end", "有两个零件在同一安装位置，请只填写最终装入的"],
  ["that time is still to come (say when it was done)", "时间尚未到来"],
  ["that time is still to come (say since when it is out of service)", "停用时间尚未到来"],
  ["{} has no rule {} (its rules say what is due)", "{0} 没有到期项目 {1}"],
  ["work order {} is open for {} already", "{1} 已有未完成的工单 {0}"],
  ["work order {} is done already, by {}", "工单 {0} 已由 {1} 完成"],
  ["work order {} is dropped already, by {}", "工单 {0} 已由 {1} 取消"],
  ["there is a case {} at {} already (change that one)", "{1} 已有案例 {0}，请更改该案例"],
  ["there is no such case here", "没有这个案例"],
  ["there is no such case any more (somebody has removed it)", "该案例已被删除"],
  ["{} has written this case anew since you read it (read what it says now, and change that)", "您打开后 {0} 已更改此案例，请查看现有内容后再保存"],
  ["case {}: the picture {} is of no alarm or case of yours (leave it out, or make the case of the alarm that shows it)", "案例 {0}：图片 {1} 不属于您能查看的报警或案例，请去掉，或由相应报警生成案例"],
  ["there is another case {} at {}", "{1} 另有案例 {0}"],
  ["this device has told of no such alarm or anomaly", "设备没有上报过该报警或异常"],
  ["your roles do not include 'case' at {}", "您的角色不能在 {0} 编写案例"],
  // what a rollout stands at, and why
  ["{} of {} that tried in all did not take it; {} % may", "全部批次已尝试的 {1} 台中有 {0} 台未能接受；允许 {2} %"],
  ["{} of {} that tried in wave {} did not take it; {} % may", "第 {2} 批已尝试的 {1} 台中有 {0} 台未能接受；允许 {3} %"],
  ["{} of {} that tried in all raised new alarms after it; {} % may", "全部批次已尝试的 {1} 台中有 {0} 台随后触发新报警；允许 {2} %"],
  ["{} of {} that tried in wave {} raised new alarms after it; {} % may", "第 {2} 批已尝试的 {1} 台中有 {0} 台随后触发新报警；允许 {3} %"],
  ["{} of {} that tried in all are not heard after it; {} % may", "全部批次已尝试的 {1} 台中有 {0} 台随后失联；允许 {2} %"],
  ["{} of {} that tried in wave {} are not heard after it; {} % may", "第 {2} 批已尝试的 {1} 台中有 {0} 台随后失联；允许 {3} %"],
  ["{} of {} that tried in all judge more parts as NG than before; {} % may", "全部批次已尝试的 {1} 台中有 {0} 台不合格件增多；允许 {2} %"],
  ["{} of {} that tried in wave {} judge more parts as NG than before; {} % may", "第 {2} 批已尝试的 {1} 台中有 {0} 台不合格件增多；允许 {3} %"],
  ["nothing more is done with it: what each of its devices did is forgotten", "不会再对它做任何操作：各设备的记录已按保留期限删除"],
  ["{} devices of wave {} wait for their turn", "第 {1} 批有 {0} 台等待轮到"],
  ["{} devices of wave {} are at it, or watched", "第 {1} 批有 {0} 台正在进行或观察中"],
  ["nobody gets it; {} left out, as {}: {}", "没有设备可推送；{0} 台被略过，例如 {1}：{2}"],
  ["nobody gets it", "没有设备可推送"],
  ["{} left out, as {}: {}", "{0} 台被略过，例如 {1}：{2}"],
  ["no layer says anything of this device", "没有任何配置层涉及该设备"],
  ["others take the places of those that are away", "由后批设备补位"],
  ["something else is wanted of it by now", "平台已另有期望"],
  ["it ran already", "此前已在运行"],
  ["it stands elsewhere now", "设备已移到别处"],
  ["it was revoked", "设备已吊销"],
  ["it began, and had not ended after {} minutes", "已开始，但 {0} 分钟内未完成"],
  ["last heard {}", "最后通信 {0}"],
  ["raised {}, which it had not before", "触发了此前没有的报警 {0}"],
  ["{} of {} parts NG; before {} of {}", "{1} 件中 {0} 件不合格；此前 {3} 件中 {2} 件"],
  // why a part is not OK, whichever tool looked
  ["the station ended before it was judged", "工位在判定前停止"],
  ["every view of it was left out", "全部视图均被略去"],
  ["no time left to judge it", "判定时间不足"],
  ["no picture from {} in time", "未及时收到 {0} 的图像"],
  ["{} gives no picture: {}", "{0} 没有图像：{1}"],
  ["{} shows the same picture as for the part before: it hangs", "{0} 的图像与上一工件相同：画面停滞"],
  ["who it is was not read", "未读到工件码"],
  ["the part before has the code {}, too", "上一工件的码也是 {0}"],
  ["show the master samples first: {}", "请先检测样件：{0}"],
  ["without {}", "未检：{0}"],
  ["cannot be judged: {}", "无法判定：{0}"],
  ["cannot be compared: {}", "无法比较：{0}"],
  ["the picture is {} x {}, the recipe is for {} x {}", "图像为 {0} x {1}，配方要求 {2} x {3}"],
  ["the picture ends within the region: {} of it cannot be seen", "检测区域超出图像：{0} 不可见"],
  ["the region is smaller than {}", "区域小于 {0}"],
  ["the mask leaves nothing to judge", "掩膜内没有可判定的部分"],
  ["the mask leaves too little of the picture to judge", "掩膜内可判定的图像太少"],
  ["the mask leaves too little of the part to judge", "掩膜内可判定的工件太少"],
  ["nothing to compare with: the view has no template", "没有模板可供比较"],
  ["not sure: {}", "不确定：{0}"],
  ["{} to {} wanted", "要求 {0} 至 {1}"],
  ["{} is wanted", "要求 {0}"],
  ["{} wanted", "要求 {0}"],
  // blob, caliper, edge, measure, count, presence, colour
  ["no {} thing with two edges is seen", "未见有两条边的{0}物体"],
  ["no {} thing with two edges is seen in strip {} of {}", "第 {1}/{2} 条带未见有两条边的{0}物体"],
  ["no {} thing", "没有{0}物体"],
  ["{} {} things, the largest of {} px", "{0} 个{1}物体，最大 {2} 像素"],
  ["no edge of {} grey levels is seen", "未见灰度差达 {0} 的边缘"],
  ["the limits are in mm, and this view has no scale", "限值以 mm 为单位，而该视图没有标定比例"],
  ["{} is below {}", "{0}，低于下限 {1}"],
  ["{} is above {}", "{0}，高于上限 {1}"],
  ["{} and {} doubtful counted", "计数 {0}，另有 {1} 个可疑"],
  ["{} counted", "计数 {0}"],
  ["{} is present ({} alike)", "{0} 存在（相似度 {1}）"],
  ["{} is absent ({} alike)", "{0} 缺失（相似度 {1}）"],
  ["not sure of {} ({} alike)", "不确定有无 {0}（相似度 {1}）"],
  ["the picture has no colours", "图像没有颜色"],
  ["{} has the colour {}", "{0} 为颜色 {1}"],
  // code, text, lamps
  ["no code can be read", "读不出码"],
  ["it says {}", "读到 {0}"],
  ["several codes may be meant: {}", "有多个可能的码：{0}"],
  ["nothing is printed there, or too faintly", "没有印字或印字太浅"],
  ["read {}", "读到 {0}"],
  ["read {}: {}", "读到 {0}：{1}"],
  ["read nothing", "没有读到内容"],
  ["character {} is like {} by {} only", "第 {0} 个字符与 {1} 的相似度仅 {2}"],
  ["character {} may be {} or {}", "第 {0} 个字符可能是 {1} 或 {2}"],
  ["the lamp {} lies outside of the picture", "指示灯 {0} 在图像之外"],
  ["too few pictures to tell of {}", "图像太少，无法判断：{0}"],
  ["{} is dark at {} s", "{0} 在 {1} 秒时不亮"],
  ["{} is lit at {} s", "{0} 在 {1} 秒时亮"],
  // template, detect, heatmap, variation, texture
  ["only {} of the picture fit the template", "图像仅 {0} 与模板吻合"],
  ["one place differs from the template", "1 处与模板不符"],
  ["{} places differ from the template", "{0} 处与模板不符"],
  ["no defect", "没有缺陷"],
  ["{} (up to {})", "{0}（最高 {1}）"],
  ["one place is unlike good parts (score {}, good ones stay below {})", "1 处与良品不同（分值 {0}，良品低于 {1}）"],
  ["{} places are unlike good parts (score {}, good ones stay below {})", "{0} 处与良品不同（分值 {1}，良品低于 {2}）"],
  ["one place differs from the taught parts (score {}, good ones reach {})", "1 处与样品不同（分值 {0}，良品最高 {1}）"],
  ["{} places differ from the taught parts (score {}, good ones reach {})", "{0} 处与样品不同（分值 {1}，良品最高 {2}）"],
  ["another surface, or another light: {}", "表面或光照不同：{0}"],
  ["light {}, taught parts {} to {}", "亮度 {0}，样品为 {1} 至 {2}"],
  ["rough {}, taught parts {} to {}", "粗糙度 {0}，样品为 {1} 至 {2}"],
  ["unlike the taught surface ({})", "与样品表面不同（{0}）"],
  ["most like {}: score {}, good ones reach {}", "最接近 {0}：分值 {1}，良品最高 {2}"],
];
const literal = (s: string) => s.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const PATTERNS = SENTENCES.map(([en, zh]): [RegExp, string, boolean] => [new RegExp(`^${en.split("{}").map(literal).join("(.+?)")}$`, "s"), zh, en.includes("; ")]);
const DEPTH = 4; // of sentences within sentences

/** What a device says in sentences, and whether all of it could be said in the language of the page. */
export function spoken(text: string): [string, boolean] {
  if (language !== "zh" || !text) return [text, true];
  return whole(text, DEPTH);
}
export const sentence = (text: string): string => spoken(text)[0];

function whole(text: string, depth: number): [string, boolean] {
  const [, about, rest] = /^(\S+?): (.+)$/s.exec(text) ?? [];
  const inner = about ? matching(rest, true, depth) : null; // as the alarm of a rollout says it
  const told = inner === null ? matching(text, true, depth) : `${about}：${inner}`;
  if (told !== null) return [told, true];
  const clauses = text.split("; ").map((clause) => one(clause, depth));
  return [clauses.map(([said]) => said).join("；"), clauses.every(([, known]) => known)];
}

/** Without "; ": it may begin with the view or the thing that it is about. */
function one(clause: string, depth: number): [string, boolean] {
  const [, about, rest] = /^(\S+?): (.+)$/s.exec(clause) ?? [];
  const told = about && depth ? one(rest, depth - 1) : null;
  if (told?.[1]) return [`${about}：${told[0]}`, true];
  const [, name, share] = /^(.+) \(?(\d+%)\)?$/.exec(clause) ?? []; // as a classifier says it
  const defect = name && label(name.replaceAll(" ", "_"), "");
  const said = defect ? `${defect} ${share}` : matching(clause, false, depth);
  return said === null ? [clause, /^[^A-Za-z]*$/.test(clause)] : [said, true];
}

function matching(text: string, several: boolean, depth: number): string | null {
  for (const [pattern, zh, long] of PATTERNS) {
    const found = several === long && pattern.exec(text);
    if (found) return zh.replace(/\{(\d)\}/g, (_, n) => filled(found[Number(n) + 1], depth));
  }
  return null;
}

/** What stands in a hole: a sentence again, a verdict with a defect, counted defects, or a name. */
function filled(hole: string, depth: number): string {
  const told = depth ? one(hole, depth - 1) : null;
  if (told?.[1]) return told[0];
  return hole.split(", ").map((name) => {
    const [, before, rest] = /^(OK|NG|\d+) (.+)$/.exec(name) ?? ["", "", name];
    return [before && label(before.toLowerCase()), label(rest.replaceAll(" ", "_").replace(/^(OK|NG)$/, (v) => v.toLowerCase()), rest)].filter(Boolean).join(" ");
  }).join("，");
}
