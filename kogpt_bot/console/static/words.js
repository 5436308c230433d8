// The words of the page.
"use strict";
const WORDS = {
  ko: {
    other: "English",
    part: "부분", state: "상태", detail: "내용",
    well: "모두 잘 돌아가고 있어요.",
    ill: "살펴봐야 할 곳이 있어요.",
    gone: "봇이 대답하지 않아요. 잠시 후 다시 물어볼게요.",
    denied: "토큰이 없거나 맞지 않아요. 페이지를 새로 고쳐 주세요.",
    model: "모델", up: "가동 시간", waiting: "기다리는 답", answering: "쓰고 있는 답",
    restarts: "모델 재시작",
    reload: "마지막 설정 다시 읽기",
    applied: "적용했어요", unchanged: "바뀐 것이 없어요", refused: "잘못된 곳이 있어 이전 설정을 그대로 써요",
    gap: "", days: "일", hours: "시간", minutes: "분", seconds: "초",
    states: {
      ready: "정상", running: "정상", starting: "시작하는 중", restarting: "다시 시작하는 중",
      failed: "실패", stopped: "멈춤", ended: "끝남", failing: "오류", loading: "불러오는 중",
      unreachable: "연결할 수 없음", "not connected": "연결 안 됨",
    },
    store: "데이터베이스", generation: "모델", adapter: "어댑터",
  },
  en: {
    other: "한국어",
    part: "Part", state: "State", detail: "Detail",
    well: "Everything is well.",
    ill: "Something needs a look.",
    gone: "The bot does not answer. Asking again in a moment.",
    denied: "The token is missing or wrong. Reload the page.",
    model: "Model", up: "Up", waiting: "Answers waiting", answering: "Answers being written",
    restarts: "Restarts of the model",
    reload: "Last reload of the configuration",
    applied: "applied", unchanged: "nothing had changed", refused: "refused; the old one stays in force",
    gap: " ", days: "d", hours: "h", minutes: "min", seconds: "s",
    states: {},
    store: "database", generation: "model", adapter: "adapter",
  },
};
