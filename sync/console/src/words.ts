// Every word a person reads, in both languages. A missing Chinese word is a type error.
const en = {
  overview: "Overview", alarms: "Alarms", inspections: "Inspections", device: "Device", devices: "Devices",
  well: "The line is well", wellSub: "no alarm stands, every device is heard",
  alarmStands: "alarm stands", alarmsStand: "alarms stand", deviceSilent: "device is not heard", devicesSilent: "devices are not heard",
  deviceTroubled: "device has a part that does not run", devicesTroubled: "devices have parts that do not run", notDone: "not done, try again",
  none: "No device is enrolled yet", noneSub: "`lineside plane invite` prints a token, `lineside enroll SITE TOKEN` uses it",
  heard: "heard", ago: "ago", never: "never", now: "now", online: "online", offline: "not heard", samples: "samples/s",
  waiting: "to be delivered", gaveUp: "given up", journal: "journal", fine: "fine", parts: "Parts", tags: "Tags",
  name: "Tag", value: "Value", unit: "Unit", quality: "Quality", time: "Time", filter: "Filter tags",
  raised: "raised", cleared: "cleared", acked: "acknowledged", unacked: "not acknowledged", shelved: "shelved", unshelved: "unshelved",
  acknowledge: "Acknowledge", asked: "asked", shelve: "Shelve 1 h", noAlarms: "No alarm stands", history: "What happened",
  ok: "OK", ng: "NG", recheck: "Look again", part: "part", score: "score", why: "why", noInspections: "No part was judged yet",
  pictureComing: "the picture follows", all: "all", lost: "Connection lost. Values are from", signIn: "Please sign in",
  signInSub: "Open the link that the plane printed when it started.", minutes: "min", hours: "h", back: "back", close: "close",
  noHistory: "No history yet", keys: "Keys: g o overview, g a alarms, g i inspections, / filter, a acknowledge",
  light: "light", dark: "dark", good: "good", running: "running", starting: "starting", stopped: "stopped", wait: "waiting",
};
export type Word = keyof typeof en;
const zh: Record<Word, string> = {
  overview: "总览", alarms: "报警", inspections: "检测", device: "设备", devices: "设备",
  well: "产线正常", wellSub: "没有报警，所有设备在线",
  alarmStands: "个报警未处理", alarmsStand: "个报警未处理", deviceSilent: "台设备失联", devicesSilent: "台设备失联",
  deviceTroubled: "台设备有部件未运行", devicesTroubled: "台设备有部件未运行", notDone: "未完成，请重试",
  none: "还没有设备接入", noneSub: "`lineside plane invite` 生成令牌，`lineside enroll SITE TOKEN` 使用令牌",
  heard: "最近通信", ago: "前", never: "从未", now: "刚刚", online: "在线", offline: "失联", samples: "采样/秒",
  waiting: "待上传", gaveUp: "已放弃", journal: "日志库", fine: "正常", parts: "部件", tags: "变量",
  name: "变量", value: "数值", unit: "单位", quality: "质量", time: "时间", filter: "筛选变量",
  raised: "已触发", cleared: "已恢复", acked: "已确认", unacked: "未确认", shelved: "已搁置", unshelved: "取消搁置",
  acknowledge: "确认", asked: "已请求", shelve: "搁置 1 小时", noAlarms: "没有报警", history: "事件记录",
  ok: "合格", ng: "不合格", recheck: "复检", part: "工件", score: "分值", why: "原因", noInspections: "还没有检测结果",
  pictureComing: "图片稍后到达", all: "全部", lost: "连接中断，数值停留在", signIn: "请登录",
  signInSub: "请打开控制平台启动时打印的链接。", minutes: "分钟", hours: "小时", back: "返回", close: "关闭",
  noHistory: "暂无历史数据", keys: "快捷键：g o 总览，g a 报警，g i 检测，/ 筛选，a 确认",
  light: "浅色", dark: "深色", good: "良好", running: "运行", starting: "启动中", stopped: "停止", wait: "等待重试",
};
const QUALITY_ZH: Record<string, string> = {
  GOOD: "良好", CLOCK_UNSURE: "时钟不准", LATE: "迟到", SUBSTITUTED: "替代值", RANGE: "超范围", STALE: "陈旧", TIMEOUT: "超时",
  EXCEPTION: "设备拒绝", BAD: "无效",
};
export type Language = "en" | "zh";
export let language: Language =
  (localStorage.getItem("language") as Language) || (navigator.language.startsWith("zh") ? "zh" : "en");
document.documentElement.lang = language;
export const t = (word: Word): string => (language === "zh" ? zh : en)[word];
export const known = (word: string): string => (word in en ? t(word as Word) : word);
export const quality = (name: string): string =>
  language === "zh" ? (QUALITY_ZH[name] ?? name) : name.toLowerCase().replace("_", " ");
export function speak(next: Language): void {
  language = next;
  localStorage.setItem("language", next);
  document.documentElement.lang = next;
}
