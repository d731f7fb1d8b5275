"""Every word of the page, in every language it speaks."""

from collections.abc import Callable

LANGUAGES = {"en": "English", "zh": "中文"}

STRINGS: dict[str, tuple[str, str]] = {
    "title": ("Assistant", "助手"),
    "tagline": (
        "Chat, say which answers are better, and the next version learns from it.",
        "聊天，指出哪个回答更好，下一个版本就会从中学习。",
    ),
    "chat": ("Chat", "对话"),
    "compare": ("Compare", "比较"),
    "versions": ("Versions", "版本"),
    "conversations": ("Conversations", "对话记录"),
    "new_chat": ("New conversation", "新对话"),
    "untitled": ("(no question yet)", "（还没有问题）"),
    "delete": ("Delete this conversation", "删除这段对话"),
    "delete_sure": (
        "Delete for good? What was said is removed; it cannot be brought back.",
        "确定永久删除？内容将被移除，无法恢复。",
    ),
    "delete_yes": ("Delete", "删除"),
    "delete_no": ("Keep", "保留"),
    "ask": ("Ask something", "问点什么"),
    "ask_hint": ("Type a question and press Enter", "输入问题后按回车"),
    "empty_chat": (
        "### What would you like to know?\nAnswers come from the model named above. "
        "It is small and often wrong: your judgements are how it gets better.",
        "### 想了解什么？\n回答来自上方所示的模型。它很小，常会出错：您的评价能让它变好。",
    ),
    "sampling": ("How answers are drawn", "回答方式"),
    "temperature": ("Temperature (0 = always the same answer)", "温度（0 = 每次回答相同）"),
    "length": ("Longest answer, in tokens", "回答的最大长度（词元）"),
    "turn_answer": (
        "Answer {turn}: version {which} of {of}",
        "第 {turn} 轮回答：第 {which}/{of} 版",
    ),
    "turn_question": (
        "Question {turn}: version {which} of {of}",
        "第 {turn} 轮提问：第 {which}/{of} 版",
    ),
    "earlier": ("Earlier version", "上一版"),
    "later": ("Later version", "下一版"),
    "thanks_up": ("Noted: a good answer. What was good?", "已记录：好回答。好在哪里？"),
    "thanks_down": ("Noted: not a good answer. What was wrong?", "已记录：不好。哪里不好？"),
    "reasons": ("Reasons (optional)", "原因（可选）"),
    "comment": ("Comment (optional)", "评论（可选）"),
    "save": ("Save", "保存"),
    "close": ("Close", "关闭"),
    "saved": ("Saved. Thank you!", "已保存，谢谢！"),
    "withdrawn": ("Your judgement was taken back.", "已撤回您的评价。"),
    "waits": (
        "The model is loading ({detail}); your question is answered right after.",
        "模型正在加载（{detail}）；就绪后立即回答您的问题。",
    ),
    "still_growing": (
        "This answer is still being written; judge it once it is finished.",
        "这个回答还在生成；完成后再评价。",
    ),
    "write_better": ("Write a better answer", "写一个更好的回答"),
    "better_label": ("Your better answer", "您写的更好的回答"),
    "better_hint": (
        "It is kept beside the model's answer, and teaches it more than a thumb does.",
        "它会与模型的回答一起保存，比点赞更能教会模型。",
    ),
    "up_correct": ("correct", "正确"),
    "up_helpful": ("helpful", "有帮助"),
    "up_clear": ("clear", "清楚"),
    "up_complete": ("complete", "完整"),
    "up_concise": ("concise", "简洁"),
    "up_kind": ("kind", "友善"),
    "down_wrong": ("wrong", "有错误"),
    "down_ignored_request": ("did not do what I asked", "没按要求做"),
    "down_unclear": ("unclear", "不清楚"),
    "down_too_long": ("too long", "太长"),
    "down_too_short": ("too short", "太短"),
    "down_refused": ("refused without need", "无故拒绝"),
    "down_harmful": ("harmful", "有害"),
    "consent_this": ("Yes, this conversation", "可以，仅这段对话"),
    "consent_all": ("Yes, this and my new conversations", "可以，这段和以后的新对话"),
    "consent_no": ("No", "不可以"),
    "consent_box": ("May be used for training", "可用于训练"),
    "consent_noted": ("Your choice is noted.", "已记录您的选择。"),
    "compare_hint": (
        "One question, two answers. Names are shown after you vote.",
        "一个问题，两个回答。投票后才显示名字。",
    ),
    "source": ("Compare", "比较对象"),
    "source_samples": ("two samples of the current version", "当前版本的两次回答"),
    "source_versions": ("the two served versions", "正在服务的两个版本"),
    "answer_a": ("Answer A", "回答 A"),
    "answer_b": ("Answer B", "回答 B"),
    "vote_first": ("A is better", "A 更好"),
    "vote_second": ("B is better", "B 更好"),
    "vote_tie": ("Equally good", "一样好"),
    "vote_both_bad": ("Both are bad", "都不好"),
    "revealed": (
        "Saved. A was **{first}**, B was **{second}**.",
        "已保存。A 是 **{first}**，B 是 **{second}**。",
    ),
    "align": ("Align", "对齐"),
    "align_hint": (
        "What people said becomes the next version: a round trains a candidate, checks it for "
        "harm, and puts it on trial against the current version.",
        "大家的评价会变成下一个版本：一轮训练产生候选版本，检查是否有害，再与当前版本一起试用。",
    ),
    "given_head": (
        "{conversations} conversations, {allowed} of them may be used for training.",
        "共 {conversations} 段对话，其中 {allowed} 段可用于训练。",
    ),
    "given_none": ("Nobody has judged an answer yet.", "还没有人评价过回答。"),
    "given_kind": ("Judgement", "评价"),
    "given_number": ("Number", "数量"),
    "kind_thumb_up": ("thumb up", "赞"),
    "kind_thumb_down": ("thumb down", "踩"),
    "kind_pair_first": ("pair: the first is better", "两者比较：前者更好"),
    "kind_pair_second": ("pair: the second is better", "两者比较：后者更好"),
    "kind_pair_tie": ("pair: equally good", "两者比较：一样好"),
    "kind_pair_both_bad": ("pair: both are bad", "两者比较：都不好"),
    "kind_ranking": ("ranking", "排序"),
    "kind_correction": ("better answer, written by a person", "由人写的更好回答"),
    "given_rows": (
        "Training could use {preference} pairs, {unpaired} thumbs and {messages} good answers.",
        "可用于训练：{preference} 个成对偏好、{unpaired} 个单独评价、{messages} 个好回答。",
    ),
    "round_fixed": (
        "This program was started with a fixed model or a remote engine. A round would train "
        "{base} all the same, and its candidate would not be tried here. To teach a version that "
        "you served once: `assistant promote NAME`, then start without `ASSISTANT_MODEL`.",
        "本程序启动时指定了固定模型或远程引擎。一轮训练仍以 {base} 为基础，"
        "产生的候选版本也不会在这里试用。若要训练曾经服务过的某个版本："
        "先运行 `assistant promote 名称`，再去掉 `ASSISTANT_MODEL` 启动。",
    ),
    "round_start": ("Start a round", "开始一轮训练"),
    "round_continue": ("Go on with the round", "继续这一轮"),
    "round_running": ("A round is running …", "正在进行一轮训练……"),
    "round_progress": (
        "{done} of {total} {what}, about {seconds_left} s left",
        "{done}/{total} {what}，约剩 {seconds_left} 秒",
    ),
    "round_interrupted": (
        "This round was interrupted; what is finished is kept.",
        "这一轮被中断了；已完成的部分都保留着。",
    ),
    "round_refused": (
        "**{name} is not put on trial**: {reasons}.",
        "**{name} 不予试用**：{reasons}。",
    ),
    "round_on_trial": (
        "**{name}** shows no harm and is on trial: vote in the Compare tab.",
        "**{name}** 未见有害，已进入试用：请到“比较”页投票。",
    ),
    "making_interrupted": (
        "The command that makes {name} was interrupted. Given once more, it goes on; what it left "
        "is in `making/{name}`.",
        "生成 {name} 的命令被中断了。再次运行同一命令即可继续；它留下的内容在 `making/{name}` 中。",
    ),
    "curve_loss": ("Loss", "损失"),
    "curve_accuracy": ("Share of pairs ranked right", "排对的比例"),
    "curve_reward": ("Reward", "奖励"),
    "curve_step": ("step", "步"),
    "check_head": (
        "| Check | current | candidate | change, 95 % | |",
        "| 检查 | 当前版本 | 候选版本 | 变化（95 %） | |",
    ),
    "check_harm": ("harm", "有害"),
    "check_perplexity": ("perplexity of plain text", "普通文本的困惑度"),
    "check_stopped": ("answers that end by themselves", "自行结束的回答"),
    "check_refused": ("refusals", "拒答"),
    "check_repetition": ("repetition", "重复"),
    "check_tokens": ("mean length in tokens", "平均长度（词元）"),
    "check_pair_accuracy": ("held-out pairs ranked right", "留出对的正确率"),
    "trial_head": (
        "On trial: **{candidate}** against **{against}**.",
        "试用中：**{candidate}** 对 **{against}**。",
    ),
    "trial_no_votes": ("No votes yet; vote in the Compare tab.", "还没有投票；请到“比较”页投票。"),
    "trial_score": (
        "{votes} votes give it {rate} (95 % sure: {lower} to {upper}).",
        "{votes} 票，得分 {rate}（95 % 区间：{lower} 到 {upper}）。",
    ),
    "trial_more": ("About {more} more votes will decide.", "大约还需 {more} 票才能决定。"),
    "trial_open": (
        "Hardly any difference so far: a decision is not in sight.",
        "目前几乎没有差别：还看不到结果。",
    ),
    "trial_not_served": (
        "It is not served: this program was started with a fixed model or a remote engine.",
        "它没有被服务：本程序启动时指定了固定模型或远程引擎。",
    ),
    "trial_ended": ("{outcome}: {reason}", "{outcome}：{reason}"),
    "outcome_promoted": ("promoted", "已采用"),
    "outcome_withdrawn": ("withdrawn", "已撤下"),
    "promote": ("Make this the current version", "设为当前版本"),
    "roll_back": ("Back to the version before", "退回上一个版本"),
    "promoting": (
        "{name} takes over as soon as it can answer; answers that were begun are finished.",
        "{name} 准备好后即接手；已开始的回答会先完成。",
    ),
    "card_lineage": ("Lineage", "沿革"),
    "card_trial": ("Trial", "试用"),
    "card_candidate": ("on trial", "试用中"),
    "version_list": ("Versions on this machine", "这台机器上的版本"),
    "card_current": ("current", "当前"),
    "card_served": ("served", "服务中"),
    "card_origin": ("Origin", "来源"),
    "card_created": ("Registered", "登记时间"),
    "card_served_as": ("Served in", "服务精度"),
    "card_int8": ("8 bits", "8 位"),
    "card_bf16": ("16 bits (bf16)", "16 位（bf16）"),
    "card_hash": ("Content hash", "内容哈希"),
    "card_files": ("Files", "文件"),
    "status_ready": ("**{name}** answers", "**{name}** 正在服务"),
    "status_waiting": ("{count} waiting", "{count} 个请求在等待"),
    "status_loading": ("Loading: {detail}", "正在加载：{detail}"),
    "status_failed": ("Not available: {detail}", "暂不可用：{detail}"),
    "no_cookie": (
        "This page keeps your conversations apart with a cookie; please allow it and reload.",
        "本页用 Cookie 区分您的对话；请允许后刷新。",
    ),
    "sign_in": ("Sign in", "登录"),
    "sign_in_key": ("API key", "API 密钥"),
    "sign_in_hint": (
        "Enter the key that the operator of this server gave you.",
        "请输入服务器管理员给您的密钥。",
    ),
    "stopped": ("stopped", "已停止"),
    "by_you": ("written by you", "您写的"),
    "thinking": ("Thinking", "思考中"),
    "thought_only": (
        "no answer within this length; it can be raised in the side bar",
        "在此长度内未给出回答；可在侧栏调大长度",
    ),
    "theme": ("Light or dark", "浅色/深色"),
}  # fmt: skip

Words = Callable[..., str]


def words(language: str) -> Words:
    """A function from a string's key (and its values) to its text in one language."""
    column = list(LANGUAGES).index(language)

    def say(key: str, **values: object) -> str:
        text = STRINGS[key][column]
        return text.format(**values) if values else text

    return say


def preferred(accept_language: str) -> str:
    """The language of the page for a browser's Accept-Language header."""
    for part in accept_language.split(","):
        language = part.split(";")[0].strip().split("-")[0].lower()
        if language in LANGUAGES:
            return language
    return next(iter(LANGUAGES))
