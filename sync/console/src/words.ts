// Every word a person reads, in both languages. A missing Chinese word is a type error.
import * as machines from "./asset_words";
import * as cases from "./case_words";
import * as fleet from "./fleet_words";

const en = {
  ...fleet.en, ...machines.en, ...cases.en,
  overview: "Overview", alarms: "Alarms", inspections: "Inspections", device: "device", devices: "Devices",
  well: "The line is well", wellSub: "No alarm stands, every device is heard, every part runs.",
  alarmStands: "alarm stands", alarmsStand: "alarms stand", deviceSilent: "device is not heard", devicesSilent: "devices are not heard",
  deviceTroubled: "device has a part that does not run", devicesTroubled: "devices have parts that do not run",
  deviceFull: "device cannot write its journal", devicesFull: "devices cannot write their journals",
  unknown: "Not known now", unknownSub: "This page has lost the plane. What is below is old; the line itself goes on.",
  aside: "shelved", notDone: "not done, try again",
  none: "No device is enrolled yet", noneSub: "`lineside plane invite` prints a token, `lineside enroll SITE TOKEN` uses it",
  never: "never heard", online: "online", offline: "not heard for", samples: "Samples/s",
  waiting: "Samples to deliver", records: "records", gaveUp: "Given up", parts: "Parts",
  name: "Tag", value: "Value", unit: "Unit", quality: "Quality", time: "Time", filter: "Filter tags", noTags: "No tag of this name",
  moreTags: "more; filter to see them", moreDevices: "more devices, which are neither shown nor counted here", noDevice: "No device is called", broken: "This page cannot be shown; the others can",
  raised: "raised", cleared: "cleared", acked: "acknowledged", unacked: "not acknowledged", shelved: "shelved", until: "until",
  isNormal: "That is normal", isNormalAsk: "take what the machine does now for normal?",
  acknowledge: "Acknowledge", asked: "Asked", shelve: "Shelve 1 h", unshelve: "Unshelve", noAlarms: "No alarm stands",
  plane: "Control plane", forwarding: "For other systems", noTargets: "The plane's file names no target",
  target: "Target", delivered: "Taken", waits: "Waiting", aside4xx: "Refused", sendAgain: "Send again", runs: "running", rules: "Rules", rule: "Rule",
  noRules: "The plane's file has no rules", judgedUntil: "Judged until", quietRule: "quiet", blind: "no value for", history: "What happened", nothing: "Nothing yet",
  ok: "OK", ng: "NG", recheck: "Look again", part: "part", score: "score", noInspections: "No part was judged yet",
  noneOfThese: "None of the last 200 parts", sure: "as expected", took: "judged in", camera: "camera", label: "found",
  noPicture: "no picture was kept", pictureComing: "the picture follows", larger: "Larger", all: "All",
  cut: "Connection lost, trying again. Values are from", signIn: "Please sign in", close: "Close",
  userName: "Name", password: "Password", enter: "Sign in", signOut: "Sign out", wholePlane: "the whole plane",
  wrongPassword: "This name and password do not belong together.", tooManyTries: "Too many tries; wait a little.",
  signInSub: "On the first day: open the link that the plane printed when it started. This page goes on by itself then.", seconds: "s", minutes: "min", hours: "h",
  wholeMinutes: "minutes are complete", wholeOf: "of", noHistory: "No history yet", emptyText: "(empty)", keys: "Keys: g o overview, g a alarms, g i inspections, g v review, g r refused records, g p control plane, g w rollouts, g s assets, g c cases, g u people, g l audit, g d dossier, / filter; on an alarm: a acknowledge, s shelve; on a part: 1 2 3 answers, t note, j k next and previous, b boxes, c correct",
  light: "Light colours", dark: "Dark colours",
  refused: "Refused records", noneRefused: "Everything that came could be read",
  refusedSub: "The plane could not read these. Their devices told a gap in their place and go on; a newer plane may be able to read them.",
  recordRefused: "record could not be read", recordsRefused: "records could not be read", samplesIn: "samples", filterRecords: "Device or reason",
  noneOfThem: "No record like this", moreRecords: "more; filter to see them", download: "Download", discard: "Discard …", keepIt: "Keep it",
  discardWhy: "Why will nobody need it?", discardNow: "Discard for ever",
  review: "Review", reviewer: "Reviewed by", whoFirst: "Say who you are first: your name is part of the record.", verdict: "Verdict of the station", show: "Show",
  open: "To do", done: "Reviewed", order: "Order", newest: "Newest first", hardest: "Hardest first", chance: "By chance (audit)", recipe: "recipe", openOf: "to do of",
  allReviewed: "Every one of these parts was reviewed", lookAgain: "Look again", correction: "correction", onItsWay: "on its way to the device",
  notTaken: "the device did not take it", reviewedMeanwhile: "This part was reviewed meanwhile. What was said is above.", withBoxes: "With boxes", withoutBoxes: "Without boxes",
  rightOk: "It is OK", falseCall: "It is OK: a false call", isOk: "It is OK", rightNg: "It is NG", otherDefect: "It is NG: another defect …", missed: "It is NG: an escape …",
  proof: "What the reviews prove", escapes: "Escapes", falseCalls: "False calls", calledOk: "audited parts called OK", calledNg: "audited parts called NG", outOf: "of",
  below: "below", at95: "at 95 %", moreParts: "more without one would show 0.4 %", noneAudited: "none was reviewed yet", byChance: "The bounds hold for parts that were taken by chance.",
  pareto: "Defects that people found", ngHours: "NG parts each hour, 24 h", sigma: "line: more is hardly chance",
  code: "code", noCode: "no code was read", findPart: "Part number or code", noneFound: "No part like this among the newest",
  twin: "What the plane wants", state: "State", wanted: "Wanted", tried: "Tried", runsNow: "Runs", itsOwn: "its own", notAsked: "not asked for yet",
  written: "Written at the device itself", unsent: "Its layers make another version, which was not sent",
  whichDefect: "Which defect?", anotherName: "Another name", back: "Back", note: "Note", correct: "Correct this", tool: "Tool", limits: "Limits",
};
export type Word = keyof typeof en;
const zh: Record<Word, string> = {
  ...fleet.zh, ...machines.zh, ...cases.zh,
  overview: "总览", alarms: "报警", inspections: "检测", device: "设备", devices: "设备",
  well: "产线正常", wellSub: "没有报警，所有设备在线，所有部件运行中。",
  alarmStands: "个报警未处理", alarmsStand: "个报警未处理", deviceSilent: "台设备失联", devicesSilent: "台设备失联",
  deviceTroubled: "台设备有部件未运行", devicesTroubled: "台设备有部件未运行",
  deviceFull: "台设备无法写入日志库", devicesFull: "台设备无法写入日志库",
  unknown: "当前状态未知", unknownSub: "本页面与控制平台的连接已中断。以下内容已过时；产线本身不受影响。",
  aside: "个已搁置", notDone: "未完成，请重试",
  none: "还没有设备接入", noneSub: "`lineside plane invite` 生成令牌，`lineside enroll SITE TOKEN` 使用令牌",
  never: "从未通信", online: "在线", offline: "失联已", samples: "采样/秒",
  waiting: "待上传样本", records: "条记录", gaveUp: "已放弃", parts: "部件",
  name: "变量", value: "数值", unit: "单位", quality: "质量", time: "时间", filter: "筛选变量", noTags: "没有匹配的变量",
  moreTags: "个变量未列出，请筛选", moreDevices: "台设备未显示，也未计入以上统计", noDevice: "没有这台设备", broken: "本页面无法显示，其他页面不受影响",
  raised: "已触发", cleared: "已恢复", acked: "已确认", unacked: "未确认", shelved: "已搁置", until: "至",
  isNormal: "视为正常", isNormalAsk: "将机器现在的状态视为正常？",
  acknowledge: "确认", asked: "已请求", shelve: "搁置 1 小时", unshelve: "取消搁置", noAlarms: "没有报警",
  plane: "控制平台", forwarding: "转发到其他系统", noTargets: "平台文件中没有转发目标",
  target: "目标", delivered: "已接收", waits: "待发送", aside4xx: "被拒绝", sendAgain: "重新发送", runs: "运行中", rules: "规则", rule: "规则",
  noRules: "平台文件中没有规则", judgedUntil: "已判断至", quietRule: "未触发", blind: "无数值已", history: "事件记录", nothing: "暂无记录",
  ok: "合格", ng: "不合格", recheck: "复检", part: "工件", score: "分值", noInspections: "还没有检测结果",
  noneOfThese: "最近 200 个工件中没有", sure: "符合要求", took: "判定用时", camera: "相机", label: "发现",
  noPicture: "未保留图片", pictureComing: "图片稍后到达", larger: "放大", all: "全部",
  cut: "连接中断，正在重连。数值停留在", signIn: "请登录", close: "关闭",
  userName: "用户名", password: "密码", enter: "登录", signOut: "退出登录", wholePlane: "整个平台",
  wrongPassword: "用户名与密码不匹配。", tooManyTries: "尝试次数过多，请稍候。",
  signInSub: "首次使用：请打开控制平台启动时打印的链接，之后本页面会自动恢复。", seconds: "秒", minutes: "分钟", hours: "小时",
  wholeMinutes: "分钟数据完整", wholeOf: "/", noHistory: "暂无历史数据", emptyText: "（空）", keys: "快捷键：g o 总览，g a 报警，g i 检测，g v 复核，g r 拒收记录，g p 控制平台，g w 分批推送，g s 资产，g c 案例，g u 人员，g l 审计，g d 档案，/ 筛选；选中报警时：a 确认，s 搁置；复核时：1 2 3 作答，t 备注，j k 下一个和上一个，b 标记框，c 更正",
  light: "浅色显示", dark: "深色显示",
  refused: "拒收记录", noneRefused: "收到的数据全部可读",
  refusedSub: "控制平台无法读取以下记录。设备已在相应位置登记数据缺口并继续运行；更新版本的平台也许能够读取。",
  recordRefused: "条记录无法读取", recordsRefused: "条记录无法读取", samplesIn: "个样本", filterRecords: "设备或原因",
  noneOfThem: "没有匹配的记录", moreRecords: "条记录未列出，请筛选", download: "下载", discard: "丢弃…", keepIt: "保留",
  discardWhy: "为什么不再需要？", discardNow: "永久丢弃",
  review: "复核", reviewer: "复核人", whoFirst: "请先填写姓名：复核人会写入记录。", verdict: "工位判定", show: "显示",
  open: "待复核", done: "已复核", order: "排序", newest: "最新优先", hardest: "疑难优先", chance: "随机（抽检）", recipe: "配方", openOf: "个待复核，共",
  allReviewed: "这些工件已全部复核", lookAgain: "再看一次", correction: "更正", onItsWay: "正在送往设备",
  notTaken: "设备未接受", reviewedMeanwhile: "该工件刚刚已被复核，结果见上。", withBoxes: "显示标记框", withoutBoxes: "隐藏标记框",
  rightOk: "确实合格", falseCall: "合格：误判", isOk: "合格", rightNg: "确实不合格", otherDefect: "不合格：其他缺陷…", missed: "不合格：漏检…",
  proof: "复核结论", escapes: "漏检", falseCalls: "误判", calledOk: "个抽检合格件", calledNg: "个抽检不合格件", outOf: "/",
  below: "低于", at95: "（95 % 置信度）", moreParts: "件再抽检且无漏检即可证明 0.4 %", noneAudited: "尚无复核", byChance: "该上限仅适用于随机抽取的工件。",
  pareto: "人工确认的缺陷", ngHours: "近 24 小时每小时不合格率", sigma: "横线：超出即不像偶然",
  code: "工件码", noCode: "未读到工件码", findPart: "工件号或工件码", noneFound: "最新的工件中没有匹配项",
  twin: "平台期望状态", state: "状态", wanted: "期望", tried: "已尝试", runsNow: "正在运行", itsOwn: "设备自己的", notAsked: "设备尚未查询",
  written: "在设备上直接修改的内容", unsent: "配置层生成了尚未下发的新版本",
  whichDefect: "是哪种缺陷？", anotherName: "其他名称", back: "返回", note: "备注", correct: "更正", tool: "工具", limits: "限值",
};
/** What devices say in fixed words: severities, states, kinds of events, qualities, counters, what the shipped model finds. */
const DEVICE_ZH: Record<string, string> = {
  critical: "紧急", high: "高", medium: "中", low: "低", info: "信息",
  running: "运行", starting: "启动中", waiting: "等待重试", stopped: "停止",
  checkpoint: "存证点", replaced: "已更换设备", signed: "已签名",
  alarm: "报警", clock: "时钟", set: "已校时", stepped: "时间跳变", inspection: "检测", source: "数据源", gap: "数据缺口", write: "写入", command: "命令", config: "配置",
  text: "文本", reader: "上传", stage: "处理环节", model: "模型", draft: "草稿", validated: "已验证", canary: "试点", production: "生产", retired: "已退役", overrun: "触发过快",
  raised: "已触发", cleared: "已恢复", acked: "已确认", shelved: "已搁置", unshelved: "取消搁置",
  ok: "合格", ng: "不合格", recheck: "复检", lost: "失联", back: "恢复通信", done: "完成", refused: "拒绝", superseded: "被新值取代",
  too_long: "文本过长", too_many: "文本种类过多", text_too_long: "过长文本已略去", text_too_many: "过多文本已略去",
  ended: "已结束", rejected: "被拒收", evicted: "已清除", damaged: "已损坏", salvaged: "已抢救", righted: "已纠正", journal_full: "日志库已满", forgotten: "已过保留期",
  new_journal: "新日志库", behind: "控制平台数据落后", journal: "日志库", picture: "图片", event: "事件", applied: "已生效",
  rolled_back: "已回滚", learned: "已学习", not_learned: "未学习", drifted: "已漂移", normal: "设为正常", renewed: "已认定为正常", undone: "已撤销认定", anomaly: "异常", cases: "相似案例", quality: "质量预测", found: "已找到", left_out: "已略去", life: "寿命", ack: "确认", shelve: "搁置", unshelve: "取消搁置",
  good: "良好", clock_unsure: "时钟不准", late: "迟到", substituted: "替代值", range: "超范围", stale: "陈旧", timeout: "超时",
  exception: "设备拒绝", bad: "无效",
  frames: "图像", overruns: "周期超限", over_budget: "单步耗时过长", reads_split: "读取已拆分", skipped_journal_full: "因日志库满跳过", skipped_no_buffer: "因无缓冲跳过",
  late_answers: "迟到应答", unchanged_device_time: "设备时间未变", no_device_time: "无设备时间", reconnects: "重新连接", no_number: "非数值", server_queue_overflow: "服务器队列溢出", source_time_ahead: "源时间超前", source_time_behind: "源时间滞后", unreadable: "无法读取",
  not_remembered: "学习结果未保存", dropped_journal_full: "因日志库满丢弃", no_such_path: "报文中无此路径", no_such_tag: "变量已不在站点", no_time: "无时间", rebirths_asked: "请求重新上线",
  shape: "格式不符", unasked: "未请求的报文", echo: "回显", checksum: "校验错误", cut: "丢弃的字节", lost_blocks: "丢失的数据块", restarted: "时间重新对齐", parity: "奇偶校验错误", no_text: "非文本",
  sequence_gap: "序号缺失", unknown_alias: "未知别名", after_gap: "缺失后的数据", old_will: "旧的离线通知", retained: "保留报文已略去", repeated: "重复报文", too_large: "过大报文已略去",
  broken: "损坏的应答", overloads: "过载次数", lost_notifications: "丢失的通知", notifications: "通知", tags: "变量",
  discarded: "已丢弃", orders_refused: "拒绝的指令", orders_dropped: "丢弃的指令", expired: "超过时限", overload: "过载", failed: "失败",
  "the disk is full": "磁盘已满", "the disk reports an error": "磁盘报错", "the disk is read-only": "磁盘只读",
  started: "已启动", changed: "已变更", unread: "未读取", no_promise: "未声明周期", not_yet: "尚未到达", not_arrived: "数据块缺失", absent: "变量不在站点",
  source_lost: "数据源失联", device: "设备", rule: "规则", blind: "无法判断", sees: "恢复判断",
  review: "复核", camera: "相机", station: "检测工位", handshake: "握手", ready: "就绪", not_ready: "未就绪", degraded: "已降级", restored: "恢复完整检测",
  unusual: "不合格率异常", usual: "不合格率恢复正常", interlock: "样件联锁", proved: "样件已验证", shadow: "影子模型", twin: "期望状态", frozen: "画面停滞", moves: "画面恢复",
  differs: "判定不同", alert: "通知", queued: "待发送",
  rollout: "分批推送", planned: "已分批", wave: "开放下一批", filled: "由后批补位", joined: "新设备加入", paused: "已暂停", resumed: "已继续", halted: "已叫停",
  going_back: "正在退回", returned: "已退回", trying: "尝试中", ddi: "固件客户端",
  trial: "工艺试验", proposed: "已提议", tried: "已试验",
};
/** What parts are said to be, and what is found on them. Apart from the rest: a defect that a customer calls `cut` or `text` is none of a device's words. */
const LABEL_ZH: Record<string, string> = {
  ok: "合格", ng: "不合格", recheck: "复检", good: "良品",
  short: "短路", open: "断路", spur: "毛刺", mousebite: "鼠咬", copper: "余铜", "pin-hole": "针孔", missing_hole: "缺孔", scratch: "划痕", stain: "污渍", chipped_edge: "缺边",
  differs: "与模板不符", difference: "差异", code: "码", present: "存在", absent: "缺失", doubtful: "可疑", dark: "深色", light: "浅色", nothing: "无内容",
  the_disk_is_full: "磁盘已满", the_disk_reports_an_error: "磁盘报错", "the_disk_is_read-only": "磁盘只读",
};
/** What a tool of a recipe was told in numbers. */
const LIMIT_ZH: Record<string, string> = {
  level: "灰度界限", area: "最小面积", largest: "最大面积", least: "下限", most: "上限", contrast: "对比度", strips: "条带数", ng_above: "不合格分值", ok_below: "合格分值",
  near: "色差", like: "相似度", doubt: "可疑相似度", bright: "亮度差", tolerance: "容差", search: "搜索范围", local: "局部偏移", strength: "缺陷强度", refuse_below: "最低吻合度", margin: "区分度",
};
export type Language = "en" | "zh";
export let language: Language =
  (localStorage.getItem("language") as Language) || (navigator.language.startsWith("zh") ? "zh" : "en");
document.documentElement.lang = language;
export const t = (word: Word): string => (language === "zh" ? zh : en)[word];
const of = (words: Record<string, string>, word: string, otherwise: string): string =>
  language === "zh" && Object.hasOwn(words, word) ? words[word] : otherwise;
const spaced = (word: unknown): string => String(word).replaceAll("_", " ");
/** A device's word; one that is not known here (a stranger's counter) is shown as it came. */
export const known = (word: unknown): string => of(DEVICE_ZH, String(word), spaced(word));
export const label = (word: unknown, otherwise = spaced(word)): string => of(LABEL_ZH, String(word), otherwise);
export const limit = (word: unknown): string => of(LIMIT_ZH, String(word), spaced(word));
export { ROLES } from "./fleet_words";
export const role = (word: string): string => fleet.role(word, language === "zh");
export const inDossier = (word: string): string => (language === "zh" ? fleet.DOSSIER_ZH[word] : undefined) ?? word;
export const asking = (word: string): string => fleet.asking(word, language === "zh");
export const standing = (word: string): string => fleet.standing(word, language === "zh");
export const quality = (name: string): string => known(name.toLowerCase());
export const joined = (parts: string[]): string => parts.filter(Boolean).join(language === "zh" ? "，" : ", ");
export function speak(next: Language): void {
  language = next;
  localStorage.setItem("language", next);
  document.documentElement.lang = next;
}
