// Words of the pages about the fleet and about people, in both languages; words.ts says them.
export const en = {
  rollouts: "Rollouts", rollout: "Rollout", noRollouts: "Nothing was rolled out yet", noRolloutsSub: "A rollout brings a model, a configuration or a release to many devices, a few at first.",
  newRollout: "New rollout …", whatGoes: "What", chooseWhat: "choose …", toClass: "Devices of class", toPlace: "At place, or below it", anyClass: "any", anyPlace: "any", everyDevice: "Every device there is",
  inWaves: "Waves", wavesHow: "numbers of devices, or shares: 1, 2%, 10%, 50%; the rest are the last wave", soak: "Each is watched for", inShadow: "In shadow, beside the one that runs", goesBack: "At a breach each goes back to what it had",
  more: "More", moreAsks: "limits, hours and gates; as it stands 600 devices begin in a minute, at any time, and more than 5 % halt it", anyNumber: "any number", hoursHow: "At any time, where none is said.", addHours: "Only between …", fromTime: "from", toTime: "to", inZone: "Time zone", onDays: "Days (none: each)", takeHoursAway: "Take these hours away",
  gatesHow: "More of the devices that tried than that, and than chance explains, halt it.", mostOf: "May be, in %", fromTries: "Judged from so many tries", whichAlarms: "Alarms that are", andWorse: "or worse", everyAlarm: "any", silentFor: "For minutes", judgeNg: "Judge it, too", partsEach: "Parts, before and after",
  begin: "Begin", fitsOne: "device fits", fitMany: "devices fit", noneFits: "No device fits", cancel: "Cancel", olderRollouts: "Older ones",
  wave: "Wave", noWavesYet: "no waves yet", ofAll: "of", begunBy: "Begun by", byWhom: "by", whoGets: "Devices", allDevices: "all", namedDevices: "named", atClass: "class", atPlace: "place",
  perSite: "At one site at a time", perMinute: "In a minute", onlyHours: "Only between", atBreach: "At a breach", halts: "halt", backs: "halt, and go back", stage: "Stage", run: "run", shadowStage: "shadow", lateToo: "New devices", lateGet: "get it, too", lateNot: "do not get it", patience: "To begin", attempt: "To end",
  pause: "Pause", resume: "Resume", halt: "Halt", takeBack: "Take back", sureResume: "Go on after the halt? What was found so far is not judged again.", sureBack: "Each device that has begun goes back to what it had, at once.", sureHalt: "Nobody new is asked any more.",
  gates: "Gates", gate: "Gate", foundOf: "Found", surely: "At least", mayBe: "May be", notEnough: "judged from so many tries", noneTried: "nobody to judge", inAllWaves: "in all waves",
  gateFailed: "did not take it", gateAlarms: "new alarms", gateSilent: "not heard any more", gateNg: "more parts NG",
  waves: "Waves", stateOf: "Stands at", reason: "Reason", late: "late", foundByGate: "found by a gate", moreRows: "More", noDeviceSo: "No device stands so", noSuchRollout: "There is no such rollout here",
  askDevice: "Ask this device", asksOnly: "It looks, and changes nothing.", readTag: "Read", liveTag: "Live 5 min:", capture: "Picture of", selftest: "Self-test", newestLines: "Newest log", supportBundle: "Support bundle",
  askSilent: "The device is not heard. It answers if it is heard again within 5 minutes; then the question expires.", ageOf: "old:", selfPassed: "Nothing is wrong", selfFailed: "Something is wrong", bundleLate: "It is not here yet; it follows when nothing more urgent waits.", liveFor: "Live for", liveOver: "Live mode is over.", endLive: "End it",
  people: "People", tree: "Tree", accounts: "Accounts", keysOf: "Keys of programs", audit: "Audit", dossier: "Dossier", deviceBelow: "device", devicesBelow: "devices", notForYou: "Your roles do not include this page",
  firstDay: "You came by the link of the first day. Once somebody here is platform admin it lets nobody in any more: that person signs in by name.",
  newPerson: "New person …", addPerson: "Add", nobodyHere: "Nobody has a role here", firstPassword: "First password", passwordRule: "12 characters or more, five different ones; better: four words.", role: "Role", atNode: "At", byProvider: "by the provider", signedIn: "signed in", change: "Change …", takeRole: "Take this role", giveRole: "Give this role", noRole: "no role",
  anotherPassword: "Another password", setPassword: "Set", passwordNow: "Password until now", signInAnew: "You sign in anew with it, everywhere.", signOutAll: "Sign out everywhere", removePerson: "Remove", sureRemove: "Remove", thatIsYou: "That is you: somebody else changes it.", notYours: "Somebody with a role elsewhere, or more than yours: who looks after the whole plane does the rest.",
  newKey: "New key …", keyName: "Name of the program", goodFor: "Good for", days: "days", makeKey: "Make", keyOnce: "This is shown once. The plane keeps only its hash.", copy: "Copy", copied: "Copied", keptIt: "I have it", keyOver: "over since", revoke: "Revoke", sureRevoke: "Programs with it are let in no more:", noKeys: "No program has a key here",
  findDeed: "Who, what or about what", refusedOnly: "Refused", row: "Row", who: "Who", did: "What", about: "About", ended: "Ended", noDeeds: "No row like this", chainChecks: "the chain is being checked …", chainHolds: "rows, and the chain holds", chainBroken: "The chain is broken",
  place: "Place", lastDays: "The last", printIt: "Print", dossierOf: "Dossier of", version: "version", noneThere: "None.",
  barWaits: "wait", barAtWork: "under way", barGood: "good", barBad: "failed", barOut: "out of it",
} as const;
export const zh: Record<keyof typeof en, string> = {
  rollouts: "分批推送", rollout: "推送", noRollouts: "还没有推送", noRolloutsSub: "推送把模型、配置或软件版本分批送到多台设备，先少后多。",
  newRollout: "新建推送…", whatGoes: "内容", chooseWhat: "请选择…", toClass: "设备类别", toPlace: "位置（含其下）", anyClass: "不限", anyPlace: "不限", everyDevice: "所有设备",
  inWaves: "批次", wavesHow: "设备台数或比例：1, 2%, 10%, 50%；其余为最后一批", soak: "每台观察时间", inShadow: "影子运行，与现用模型并行", goesBack: "超限时各设备退回原版本",
  more: "更多", moreAsks: "限额、时段和门限；默认每分钟开始 600 台，不限时段，超过 5 % 即叫停", anyNumber: "不限", hoursHow: "不填则不限时段。", addHours: "限定时段…", fromTime: "从", toTime: "至", inZone: "时区", onDays: "星期（不选：每天）", takeHoursAway: "移除该时段",
  gatesHow: "已尝试的设备中，超出允许比例且并非偶然，即叫停。", mostOf: "允许（%）", fromTries: "至少几台才判定", whichAlarms: "报警级别", andWorse: "及以上", everyAlarm: "任意", silentFor: "失联分钟数", judgeNg: "也判定", partsEach: "前后各需工件数",
  begin: "开始", fitsOne: "台设备符合", fitMany: "台设备符合", noneFits: "没有符合的设备", cancel: "取消", olderRollouts: "更早的推送",
  wave: "批次", noWavesYet: "尚未分批", ofAll: "/", begunBy: "发起人", byWhom: "操作人", whoGets: "设备", allDevices: "全部", namedDevices: "台指定设备", atClass: "类别", atPlace: "位置",
  perSite: "同一现场同时", perMinute: "每分钟最多", onlyHours: "仅在时段", atBreach: "超限时", halts: "叫停", backs: "叫停并退回", stage: "方式", run: "运行", shadowStage: "影子运行", lateToo: "新接入设备", lateGet: "也推送", lateNot: "不推送", patience: "开始时限", attempt: "完成时限",
  pause: "暂停", resume: "继续", halt: "叫停", takeBack: "退回", sureResume: "叫停后继续？此前发现的问题不再判定。", sureBack: "已开始的设备将立即退回原版本。", sureHalt: "不再向新的设备推送。",
  gates: "门限", gate: "门限", foundOf: "发现", surely: "至少", mayBe: "允许", notEnough: "判定所需台数", noneTried: "暂无可判定的设备", inAllWaves: "全部批次",
  gateFailed: "未能接受", gateAlarms: "新报警", gateSilent: "失联", gateNg: "不合格件增多",
  waves: "批次", stateOf: "进度", reason: "原因", late: "超时未开始", foundByGate: "被门限发现", moreRows: "更多", noDeviceSo: "没有处于该状态的设备", noSuchRollout: "没有这次推送",
  askDevice: "询问设备", asksOnly: "只查看，不做任何更改。", readTag: "读取", liveTag: "实时 5 分钟：", capture: "拍摄", selftest: "自检", newestLines: "最新日志", supportBundle: "支持包",
  askSilent: "设备失联。若 5 分钟内恢复通信，设备会应答；否则本次询问过期。", ageOf: "距今", selfPassed: "没有发现问题", selfFailed: "发现问题", bundleLate: "尚未到达；线路空闲时会送达。", liveFor: "实时剩余", liveOver: "实时模式已结束。", endLive: "结束实时",
  people: "人员", tree: "组织", accounts: "账户", keysOf: "程序密钥", audit: "审计", dossier: "档案", deviceBelow: "台设备", devicesBelow: "台设备", notForYou: "您的角色不能查看本页面",
  firstDay: "您通过首日链接进入。一旦有人成为平台管理员，该链接即失效，此后须用账户登录。",
  newPerson: "新建账户…", addPerson: "添加", nobodyHere: "此处没有人员", firstPassword: "初始密码", passwordRule: "至少 12 个字符、5 个不同字符；建议用四个词。", role: "角色", atNode: "位置", byProvider: "由身份提供方登录", signedIn: "已登录", change: "更改…", takeRole: "收回角色", giveRole: "授予角色", noRole: "没有角色",
  anotherPassword: "新密码", setPassword: "设置", passwordNow: "当前密码", signInAnew: "之后须在各处重新登录。", signOutAll: "全部退出登录", removePerson: "删除", sureRemove: "删除账户", thatIsYou: "这是您自己的账户，须由他人更改。", notYours: "此人在别处另有角色，或权限超出您的范围：其余更改由管理整个平台的人进行。",
  newKey: "新建密钥…", keyName: "程序名称", goodFor: "有效期", days: "天", makeKey: "生成", keyOnce: "密钥只显示这一次，平台仅保存其哈希。", copy: "复制", copied: "已复制", keptIt: "已保存", keyOver: "已过期于", revoke: "吊销", sureRevoke: "使用它的程序将无法进入：", noKeys: "此处没有程序密钥",
  findDeed: "人员、操作或对象", refusedOnly: "被拒绝", row: "行", who: "人员", did: "操作", about: "对象", ended: "结果", noDeeds: "没有匹配的记录", chainChecks: "正在校验链…", chainHolds: "行，链完整", chainBroken: "链已断裂",
  place: "位置", lastDays: "最近", printIt: "打印", dossierOf: "档案：", version: "版本", noneThere: "无。",
  barWaits: "等待", barAtWork: "进行中", barGood: "成功", barBad: "失败", barOut: "不再参与",
};
/** Where a rollout stands, and a device in it: words that mean something else of a device. */
const STANDS: Record<string, [string, string]> = {
  planning: ["being planned", "规划中"], running: ["running", "进行中"], paused: ["paused", "已暂停"], halted: ["halted", "已叫停"], done: ["done", "已完成"], back: ["going back", "正在退回"], returned: ["taken back", "已退回"],
  waits: ["waits", "等待"], asked: ["asked", "已下达"], trying: ["trying", "尝试中"], watched: ["watched", "观察中"], good: ["good", "成功"], failed: ["failed", "失败"], over: ["something else is wanted", "已另有期望"], gone: ["revoked", "已吊销"], stuck: ["could not go back", "未能退回"],
};
export const ROLES = ["viewer", "operator", "engineer", "model_maker", "fleet_manager", "auditor", "tenant_admin", "platform_admin"];
const ROLES_ZH: Record<string, string> = { viewer: "查看者", operator: "操作员", engineer: "工程师", model_maker: "模型工程师", fleet_manager: "设备群管理员", auditor: "审计员", tenant_admin: "租户管理员", platform_admin: "平台管理员" };
export const role = (word: string, chinese: boolean): string => (chinese ? ROLES_ZH[word] : undefined) ?? word.replaceAll("_", " ");
/** Titles and heads of a dossier. */
export const DOSSIER_ZH: Record<string, string> = {
  Devices: "设备", Yield: "良率", Faults: "故障", "Hours without data": "无数据小时数", Software: "软件", device: "设备", class: "类别", place: "位置", enrolled: "接入", heard: "最后通信",
  parts: "工件", OK: "合格", NG: "不合格", "OK of all": "合格率", alarm: "报警", raised: "触发次数", hours: "小时", of: "共", what: "内容", runs: "正在运行", state: "状态", never: "从未", revoked: "已吊销",
};
/** What is asked of a device, and what became of it. */
const ASKS: Record<string, [string, string]> = {
  read: ["Read", "读取"], capture: ["Picture of", "拍摄"], tail: ["Newest log", "最新日志"], selftest: ["Self-test", "自检"], support: ["Support bundle", "支持包"], live: ["Live", "实时"],
  queued: ["not fetched yet", "设备尚未取走"], accepted: ["at work", "处理中"], done: ["done", "完成"], failed: ["failed", "失败"], refused: ["refused", "拒绝"], expired: ["expired", "已过期"],
};
export const asking = (word: string, chinese: boolean): string => ASKS[word]?.[chinese ? 1 : 0] ?? word;
export const standing = (word: string, chinese: boolean): string => STANDS[word]?.[chinese ? 1 : 0] ?? word;
