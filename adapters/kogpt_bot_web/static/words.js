// Every word of the page, in Korean and in English.
export const WORDS = {
  ko: {
    menu: "방과 사람", side: "방과 사람", language: "언어", rooms: "방", speakers: "말하는 사람",
    newRoom: "새 방 이름", newSpeaker: "새 이름", add: "추가", clear: "대화 지우기", send: "보내기",
    stop: "멈추기", again: "다시 쓰기", write: "메시지를 입력하세요", called: "부를 때만 답하기",
    note: "대화는 이 컴퓨터에만 저장돼요. 답은 작은 언어 모델이 지어내므로 사실이 아닐 수 있어요.",
    empty: "아직 아무 말도 없어요. 한국어로 말을 걸어 보세요.",
    tries: ["안녕, 뭐 해?", "넌 누구야?", "오늘 점심 뭐 먹을까?", "요즘 너무 피곤해"],
    connecting: "연결하는 중…", lost: "연결이 끊겼어요. 다시 연결하는 중…",
    unreachable: "서버에 닿지 않아요. 잠시 후 다시 보내 주세요.",
    empty_message: "보낼 내용을 입력해 주세요.", remove: "없애기", sure: "이 방의 대화를 모두 지울까요?",
    firstRoom: "첫 번째 방", guest: "나",
  },
  en: {
    menu: "Rooms and people", side: "Rooms and people", language: "Language", rooms: "Rooms", speakers: "Speaking as",
    newRoom: "New room", newSpeaker: "New name", add: "Add", clear: "Clear", send: "Send",
    stop: "Stop", again: "Regenerate", write: "Write a message (Korean works best)", called: "Only when called",
    note: "Conversations stay on this computer. Answers are made up by a small language model and may be wrong.",
    empty: "Nothing was said yet. Say something in Korean.",
    tries: ["안녕, 뭐 해?", "넌 누구야?", "오늘 점심 뭐 먹을까?", "요즘 너무 피곤해"],
    connecting: "Connecting…", lost: "Connection lost. Reconnecting…",
    unreachable: "The server cannot be reached. Please try again in a moment.",
    empty_message: "Write something first.", remove: "Remove", sure: "Clear everything that was said in this room?",
    firstRoom: "First room", guest: "Me",
  },
};
