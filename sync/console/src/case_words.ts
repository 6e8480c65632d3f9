// Words of the pages about fault cases, in both languages; words.ts says them.
export const en = {
  faultCases: "Cases", caseOf: "Case", noCases: "No fault case is written yet", noCasesSub: "A case says what was seen on a machine, why, and what helped. Write one, take a file in, or make one of an alarm.", noCaseLike: "No case like this", noSuchCase: "There is no such case here",
  findCase: "What is seen, a part, a cause …", newCase: "New case …", caseGraph: "What stands together", listOfCases: "Cases", takeIn: "Take a file in …", takeInNow: "Take it in", caseFile: "A file: CSV, JSON or YAML", newCases: "new,", anewCases: "took the place of those with their ids",
  assetNode: "Asset", componentNode: "Component", symptomNode: "Symptom", causeNode: "Cause", remedyNode: "Remedy", everythingNode: "All of it", inCases: "cases", inOneCase: "case", behindIt: "Cases", noneTogether: "nothing", pickNode: "Pick one to see what stands together with it.",
  signatureAlarm: "Alarm", signatureShares: "Shares of its tags", sharesHow: "flow=-0.7; current=0.2: negative where lower than usual", neededParts: "Parts that were needed", partsHow: "several with ; between them", casePictures: "Pictures", caseSource: "Who says so", writtenBy: "Written by", servesAt: "Serves at, and below", sureRemoveCase: "Remove this case? Devices forget it, too.", writeCase: "Keep", changeCase: "Change …", removeCase: "Remove", nearTo: "near", idOfCase: "Id",
  similarCases: "Similar cases", makeCase: "Make a case …", caseMade: "The case is written", looksLike: "It looks like", wrongShares: "is no share of a tag; write flow=-0.7; current=0.2", moreCases: "More", casesOfClass: "Cases of this class", allAbout: "All about it", thoseAsFile: "Those right there as a file",
} as const;
export const zh: Record<keyof typeof en, string> = {
  faultCases: "案例", caseOf: "案例", noCases: "还没有故障案例", noCasesSub: "案例记录设备上的现象、原因和处理办法。可新写、导入文件，或由报警生成。", noCaseLike: "没有匹配的案例", noSuchCase: "没有这个案例",
  findCase: "现象、零件、原因…", newCase: "新建案例…", caseGraph: "关联图", listOfCases: "案例", takeIn: "导入文件…", takeInNow: "导入", caseFile: "文件：CSV、JSON 或 YAML", newCases: "个新案例，", anewCases: "个按编号替换",
  assetNode: "资产", componentNode: "部件", symptomNode: "现象", causeNode: "原因", remedyNode: "处理", everythingNode: "全部", inCases: "个案例", inOneCase: "个案例", behindIt: "案例", noneTogether: "无", pickNode: "点选一项，查看与它同时出现的内容。",
  signatureAlarm: "报警", signatureShares: "各变量占比", sharesHow: "flow=-0.7; current=0.2，低于平时为负", neededParts: "所需零件", partsHow: "多个用 ; 分隔", casePictures: "图片", caseSource: "来源", writtenBy: "编写", servesAt: "适用位置（含其下）", sureRemoveCase: "删除这个案例？设备上也会删除。", writeCase: "保存", changeCase: "更改…", removeCase: "删除", nearTo: "相似度", idOfCase: "编号",
  similarCases: "相似案例", makeCase: "生成案例…", caseMade: "案例已保存", looksLike: "类似", wrongShares: "不是变量占比，应如 flow=-0.7; current=0.2", moreCases: "更多", casesOfClass: "此类资产的案例", allAbout: "查看关联", thoseAsFile: "导出该位置本级案例",
};
